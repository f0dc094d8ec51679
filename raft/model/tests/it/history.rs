//! Events: dense, chained, bounded, resumable.

use flotilla_model::command::*;
use flotilla_model::event::Fact;
use flotilla_model::*;

use crate::world::*;

fn put_token(world: &mut World) {
    let command = PutToken { name: "t".into(), hash: [1; 32], permissions: vec![], expires_at: 0, replace: true };
    world.run(Command::PutToken(command)).unwrap();
}

#[test]
fn watching_resumes_behind_the_last_number_seen() {
    let mut world = World::new(1);
    let seen = world.state.last_event_number();
    world.create("demo", spec("demo"));
    let facts: Vec<Fact> = world.state.events_after(seen).unwrap().map(|event| event.fact.clone()).collect();
    assert!(matches!(&facts[..], [Fact::UserCreated { username, .. }] if *username == name("demo")), "{facts:?}");
    assert_eq!(world.state.events_after(seen + 1).unwrap().count(), 0);
    let ahead = world.state.events_after(seen + 2).err();
    assert_eq!(ahead, Some(EventsError::Ahead { number: seen + 2, last: seen + 1 }));
}

#[test]
fn compaction_is_announced_and_the_chain_goes_on_from_the_hash_before_the_window() {
    let mut world = World::new(1);
    for _ in 0..10_050 {
        put_token(&mut world);
    }
    let last = world.state.last_event_number();
    let through = last - 10_000;
    assert_eq!(world.state.events_compacted_through(), through);
    assert_eq!(world.state.events_after(through - 1).err(), Some(EventsError::Compacted { through }));
    assert_eq!(world.state.events_after(through).unwrap().count(), 10_000);
    assert!(world.state.event_hash(through).is_some() && world.state.event_hash(through - 1).is_none());
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn an_update_s_event_tells_the_fields_before_and_after_and_holds_no_hash() {
    let mut world = World::new(1);
    world.create("demo", spec("demo"));
    let password_hash = Some(Some("$argon2id$secret".to_owned()));
    world.update("demo", UserPatch { password_hash, max_sessions: Some(3), ..UserPatch::default() }).unwrap();
    let [event] = &world.last.events[..] else { panic!("one event") };
    let change = |field: &str, before: &str, after: &str| FieldChange {
        field: field.into(),
        before: before.into(),
        after: after.into(),
    };
    let changes = vec![change("password", "\"[redacted]\"", "\"[redacted]\""), change("max_sessions", "0", "3")];
    assert_eq!(event.fact, Fact::UserUpdated { username: name("demo"), changes });
    assert!(!format!("{event:?}").contains("secret"));
}

#[test]
fn a_refused_login_is_told_but_a_stale_one_is_not() {
    let mut world = World::new(1);
    world.create("demo", UserSpec { max_sessions: 1, ..spec("demo") });
    world.open(1, "demo").unwrap();
    world.open(1, "demo").unwrap_err();
    assert!(matches!(&world.last.events[..], [Event { fact: Fact::SessionRefused { .. }, .. }]));
    let (id, stale) = (world.id(1), world.open_command("demo"));
    world.update("demo", UserPatch { public_keys: Some(vec![]), ..UserPatch::default() }).unwrap();
    assert!(matches!(world.run_as(id, stale), Err(Refusal::UserChanged { .. })));
    assert!(world.last.events.is_empty());
}

#[test]
fn sessions_of_an_ended_epoch_are_told_closed_with_the_reason() {
    let mut world = World::new(1);
    world.create("demo", spec("demo"));
    let session = world.open(1, "demo").unwrap();
    world.expire(1).unwrap();
    let facts: Vec<&Fact> = world.last.events.iter().map(|event| &event.fact).collect();
    let closed = Fact::SessionClosed {
        session,
        username: name("demo"),
        reason: "lease expired".into(),
        bytes_uploaded: 0,
        bytes_downloaded: 0,
    };
    assert_eq!(facts, [&Fact::NodeDown { node: NodeId(1), epoch: session.epoch }, &closed]);
    let session = {
        world.register(1);
        world.open(1, "demo").unwrap()
    };
    world.register(1);
    let told = world.last.events.iter().any(|event| {
        matches!(&event.fact, Fact::SessionClosed { session: s, reason, .. } if *s == session && reason == "node registered again")
    });
    assert!(told);
}
