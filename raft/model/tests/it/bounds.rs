//! The bound on rows touched: 2,000 per command, 20,000 per entry, whatever the size of the state.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

const PER_COMMAND: u64 = 2_000;
const PER_ENTRY: u64 = 20_000;

fn envelope(command: Command) -> Envelope {
    Envelope { id: CommandId::Unnumbered, actor: "test".into(), command }
}

fn assert_bounded(world: &World, what: &str) {
    let (command, entry) = (world.last.most_rows_by_a_command, world.last.rows_touched);
    assert!(command <= PER_COMMAND, "{what}: a command touched {command} rows");
    assert!(entry <= PER_ENTRY, "{what}: an entry touched {entry} rows");
}

/// Three nodes, `users` users; `crowd` has `sessions` sessions over the nodes.
fn crowded(users: u64, sessions: u64) -> World {
    let mut world = World::new(3);
    for first in (0..users).step_by(256) {
        let create = |user: u64| {
            let username = name(&format!("user{user}"));
            envelope(Command::CreateUser(CreateUser { username, spec: spec(&format!("homes/{user}")) }))
        };
        let replies = world.entry((first..users.min(first + 256)).map(create).collect());
        assert!(replies.iter().all(Result::is_ok));
        assert_bounded(&world, "creation");
    }
    world.create("crowd", spec("crowd"));
    open_many(&mut world, "crowd", sessions);
    world
}

fn open_many(world: &mut World, user: &str, sessions: u64) {
    for first in (0..sessions).step_by(256) {
        let mut commands = Vec::new();
        for turn in first..sessions.min(first + 256) {
            let id = world.id(1 + turn % 3);
            commands.push(Envelope { id, actor: "node".into(), command: world.open_command(user) });
        }
        let replies = world.entry(commands);
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
        assert_bounded(world, "opens");
    }
}

#[test]
fn no_command_touches_more_rows_than_its_bound_among_a_hundred_thousand_users() {
    let mut world = crowded(100_000, 10_000);
    assert_eq!(world.state.slots_in_use(&name("crowd")), 10_000);
    let changes: [(&str, UserPatch); 6] = [
        ("limit above", UserPatch { max_sessions: Some(10_001), ..UserPatch::default() }),
        ("limit below by few", UserPatch { max_sessions: Some(9_900), ..UserPatch::default() }),
        ("unlimited", UserPatch { max_sessions: Some(0), ..UserPatch::default() }),
        ("limit below by many", UserPatch { max_sessions: Some(5), ..UserPatch::default() }),
        ("disabled", UserPatch { status: Some(Status::Disabled), ..UserPatch::default() }),
        ("enabled", UserPatch { status: Some(Status::Enabled), ..UserPatch::default() }),
    ];
    for (what, patch) in changes {
        world.update("crowd", patch).unwrap();
        assert_bounded(&world, what);
    }
    assert!(matches!(world.open(1, "crowd"), Err(Refusal::SessionLimitReached { in_use: 10_000, .. })));
    assert_bounded(&world, "refused open");
    let delete = DeleteUser { username: name("crowd"), expected_revision: None };
    assert!(matches!(world.run(Command::DeleteUser(delete)), Ok(Done::Revoked { nodes, .. }) if nodes.len() == 3));
    assert_bounded(&world, "deletion");
    for node in 1..=3 {
        world.expire(node).unwrap();
        assert_bounded(&world, "expiry");
    }
    assert_eq!(world.state.live_sessions().count(), 0, "all slots are free at once");
    let mut entries = 0;
    while world.state.dead_epochs().next().is_some() {
        world.entry(Vec::new());
        assert_bounded(&world, "sweep");
        entries += 1;
    }
    assert!((30..=120).contains(&entries), "{entries} entries to sweep 10,000 sessions and their numbers");
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn few_sessions_too_many_are_marked_one_by_one_also_among_many() {
    let mut world = crowded(0, 2_000);
    world.update("crowd", UserPatch { max_sessions: Some(1_900), ..UserPatch::default() }).unwrap();
    let cut = world.state.live_sessions().filter(|session| world.state.session_cut(session).is_some()).count();
    assert_eq!(cut, 100);
    let oldest_cut = world.state.live_sessions().filter(|s| s.cut.is_some()).map(|s| s.opened_index).min();
    let newest_kept = world.state.live_sessions().filter(|s| s.cut.is_none()).map(|s| s.opened_index).max();
    assert!(newest_kept <= oldest_cut, "the newest go first");
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn an_entry_of_many_heavy_commands_stays_within_its_bound() {
    let mut world = World::new(3);
    for user in 0..64 {
        world.create(&format!("user{user}"), spec(&format!("homes/{user}")));
        open_many(&mut world, &format!("user{user}"), 300);
    }
    world.expire(3).unwrap();
    let disable = |user: u64| {
        let patch = UserPatch { status: Some(Status::Disabled), ..UserPatch::default() };
        let username = name(&format!("user{}", user % 64));
        envelope(Command::UpdateUser(UpdateUser { username, expected_revision: None, patch }))
    };
    let replies = world.entry((0..256).map(disable).collect());
    assert!(replies.iter().all(Result::is_ok));
    assert_bounded(&world, "many revocations");
    assert!(world.state.live_sessions().all(|session| world.state.session_cut(session).is_some()));
}
