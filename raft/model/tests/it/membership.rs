//! Who is let in, who is put out: tokens, ids, names, stores.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn token(world: &mut World, hash: u8, life_ms: u64) {
    world.run(Command::MakeJoinToken(MakeJoinToken { hash: [hash; 32], life_ms })).unwrap();
}

fn admit(world: &mut World, token: u8, number: u8) -> Reply {
    world.run(Command::AdmitNode(admit_node([token; 32], number)))
}

fn remove(world: &mut World, node: u64, lost: bool) -> Reply {
    world.run(Command::RemoveNode(RemoveNode { node: NodeId(node), lost }))
}

fn not(refusal: MembershipRefusal) -> Reply {
    Err(Refusal::Membership(refusal))
}

#[test]
fn a_token_lets_one_key_in_and_answers_it_again() {
    let mut world = World::new(1);
    assert_eq!(admit(&mut world, 7, 2), not(MembershipRefusal::UnknownToken));
    token(&mut world, 7, 60_000);
    assert_eq!(admit(&mut world, 7, 2), Ok(Done::Admitted { node: NodeId(2) }));
    assert_eq!(admit(&mut world, 7, 2), Ok(Done::Admitted { node: NodeId(2) }));
    assert_eq!(admit(&mut world, 7, 3), not(MembershipRefusal::TokenUsed { node: NodeId(2) }));
    let row = world.state.node(NodeId(2)).unwrap();
    assert_eq!((row.public_key.clone(), row.alive, row.store), (vec![2; 91], false, 0));
}

#[test]
fn an_expired_token_lets_nobody_in_but_still_answers_whom_it_let_in() {
    let mut world = World::new(1);
    token(&mut world, 7, 4);
    token(&mut world, 8, 4);
    assert_eq!(admit(&mut world, 7, 2), Ok(Done::Admitted { node: NodeId(2) }));
    for _ in 0..4 {
        world.run(put_user_nothing()).unwrap_err();
    }
    assert_eq!(admit(&mut world, 7, 2), Ok(Done::Admitted { node: NodeId(2) }));
    assert_eq!(admit(&mut world, 8, 3), not(MembershipRefusal::TokenExpired));
    token(&mut world, 9, 60_000);
    assert_eq!(
        admit(&mut world, 8, 3),
        not(MembershipRefusal::UnknownToken),
        "what is over goes with the next one made"
    );
}

/// Lets time pass.
fn put_user_nothing() -> Command {
    Command::DeleteToken(DeleteToken { name: "nobody".into(), expected_revision: None })
}

#[test]
fn names_addresses_and_keys_stand_for_one_node_each() {
    let mut world = World::new(1);
    for hash in [7, 8] {
        token(&mut world, hash, 60_000);
    }
    admit(&mut world, 7, 2).unwrap();
    let base = admit_node([8; 32], 3);
    let first = admit_node([8; 32], 2);
    let refused = |change: AdmitNode| world.state.clone().apply(world.index + 1, &entry_of(Command::AdmitNode(change)));
    let of = |applied: Applied| applied.replies[0].clone();
    let name = AdmitNode { name: first.name.clone(), ..base.clone() };
    assert!(matches!(of(refused(name)), Err(Refusal::Membership(MembershipRefusal::NameTaken { .. }))));
    let address = AdmitNode { peer_address: first.peer_address.clone(), ..base.clone() };
    assert!(matches!(of(refused(address)), Err(Refusal::Membership(MembershipRefusal::AddressTaken { .. }))));
    let key = AdmitNode { public_key: first.public_key, ..base };
    assert!(matches!(of(refused(key)), Err(Refusal::Membership(MembershipRefusal::KeyTaken { .. }))));
}

fn entry_of(command: Command) -> Entry {
    let envelope = Envelope { id: CommandId::Unnumbered, actor: "test".into(), command };
    Entry { time: LogTime(0), wall: WallTime(0), commands: vec![envelope] }
}

#[test]
fn a_removed_node_serves_out_its_lease_and_its_number_is_never_given_again() {
    let mut world = World::new(3);
    world.create("demo", UserSpec { max_sessions: 1, ..spec("demo") });
    let session = world.open(3, "demo").unwrap();
    remove(&mut world, 3, false).unwrap();
    assert!(world.state.live_session(session).is_some(), "its lease may still run");
    assert!(matches!(world.open(1, "demo"), Err(Refusal::SessionLimitReached { .. })));
    let row = world.state.node(NodeId(3)).unwrap().clone();
    let renew = Renew { term: 1, leader_clock_ms: 1, renewals: vec![(NodeId(3), row.last_epoch, 9)] };
    assert_eq!(world.run(Command::Renew(renew)), Ok(Done::Nothing), "it is not renewed any more");
    world.expire(3).unwrap();
    assert!(world.state.node(NodeId(3)).is_none() && world.state.was_removed(NodeId(3)));
    world.open(1, "demo").unwrap();
    assert_eq!(remove(&mut world, 3, false), Ok(Done::Nothing), "asked again, it is done");
    assert!(world.last.events.is_empty());
    token(&mut world, 7, 60_000);
    assert_eq!(admit(&mut world, 7, 4), Ok(Done::Admitted { node: NodeId(4) }));
    assert_eq!(world.run(Command::PutNode(put_node(3))), not(MembershipRefusal::Removed { node: NodeId(3) }));
    flotilla_model::invariant::check_all(&world.state).unwrap();
}

#[test]
fn a_node_that_is_down_or_lost_goes_at_once_and_the_last_one_stays() {
    let mut world = World::new(3);
    world.expire(2).unwrap();
    remove(&mut world, 2, false).unwrap();
    assert!(world.state.node(NodeId(2)).is_none());
    remove(&mut world, 3, true).unwrap();
    assert!(world.state.node(NodeId(3)).is_none());
    assert_eq!(remove(&mut world, 1, false), not(MembershipRefusal::LastNode { node: NodeId(1) }));
    assert_eq!(remove(&mut world, 9, false), Err(Refusal::NodeNotFound { node: NodeId(9) }));
    flotilla_model::invariant::check_all(&world.state).unwrap();
}

#[test]
fn a_removal_leaves_a_majority_of_todays_members_alive_or_is_refused() {
    let no_majority = |node, alive, members| not(MembershipRefusal::NoMajority { node: NodeId(node), alive, members });
    // One of three is dead: it may go, a live one may not.
    let mut world = World::new(3);
    world.expire(3).unwrap();
    assert_eq!(remove(&mut world, 2, false), no_majority(2, 1, 3));
    assert!(world.last.events.is_empty() && !world.state.node(NodeId(2)).unwrap().leaving);
    remove(&mut world, 3, false).unwrap();
    // Of two each is needed, dead or alive.
    assert_eq!(remove(&mut world, 2, false), no_majority(2, 1, 2));
    world.expire(2).unwrap();
    assert_eq!(remove(&mut world, 2, false), no_majority(2, 1, 2));
    remove(&mut world, 2, true).expect("`cluster recover` knows that the others are gone");
    let said = no_majority(2, 1, 3).unwrap_err().to_string();
    assert!(said.contains("1 of 3") && said.contains("start the stopped nodes") && said.contains("recover"), "{said}");
    flotilla_model::invariant::check_all(&world.state).unwrap();
}

#[test]
fn removals_at_one_time_do_not_add_up_and_who_never_registered_is_no_member() {
    let mut world = World::new(3);
    let envelope = |node| {
        let command = Command::RemoveNode(RemoveNode { node: NodeId(node), lost: false });
        Envelope { id: CommandId::Unnumbered, actor: "test".into(), command }
    };
    let replies = world.entry(vec![envelope(2), envelope(3)]);
    assert!(replies[0].is_ok(), "{:?}", replies[0]);
    assert_eq!(replies[1], not(MembershipRefusal::NoMajority { node: NodeId(3), alive: 1, members: 3 }));
    remove(&mut world, 2, false).expect("it is leaving already");
    world.expire(2).unwrap();
    token(&mut world, 7, 60_000);
    assert_eq!(admit(&mut world, 7, 4), Ok(Done::Admitted { node: NodeId(4) }));
    assert_eq!(
        remove(&mut world, 3, false),
        not(MembershipRefusal::NoMajority { node: NodeId(3), alive: 1, members: 2 })
    );
    world.expire(3).unwrap();
    remove(&mut world, 4, false).expect("it never had a vote");
}

#[test]
fn another_store_or_a_second_start_under_one_number_does_not_register() {
    let mut world = World::new(1);
    let row = world.state.node(NodeId(1)).unwrap().clone();
    let again = RegisterNode {
        node: NodeId(1),
        store: row.store,
        start: row.start,
        nonce: row.nonce,
        replaces: row.last_epoch,
        version: String::new(),
    };
    let other = RegisterNode { store: 2, start: row.start + 1, ..again.clone() };
    assert_eq!(world.run(Command::RegisterNode(other)), not(MembershipRefusal::OtherStore { node: NodeId(1) }));
    let copied = RegisterNode { nonce: 2, ..again.clone() };
    assert!(matches!(world.run(Command::RegisterNode(copied)), Err(Refusal::StartWentBack { .. })));
    world.run(Command::RegisterNode(again)).unwrap();
}

#[test]
fn secrets_are_sealed_anew_all_or_none() {
    let mut world = World::new(1);
    for name in ["a", "b"] {
        world.run(put(name, 1)).unwrap();
    }
    let revision = |world: &World, name: &str| world.state.secret(name).unwrap().revision;
    let (a, b) = (revision(&world, "a"), revision(&world, "b"));
    let reseal = |secrets: &[(&str, LogIndex)]| {
        let secrets = secrets.iter().map(|(name, at)| ((*name).to_owned(), *at, vec![9])).collect();
        Command::ResealSecrets(ResealSecrets { secrets })
    };
    assert!(world.run(reseal(&[("a", a)])).is_err(), "one is missing");
    world.run(put("b", 2)).unwrap();
    assert!(matches!(world.run(reseal(&[("a", a), ("b", b)])), Err(Refusal::RevisionMismatch { .. })));
    assert_eq!(world.state.secret("a").unwrap().sealed, [1]);
    let b = revision(&world, "b");
    world.run(reseal(&[("a", a), ("b", b)])).unwrap();
    assert_eq!(world.state.secret("b").unwrap().sealed, [9]);
}

fn put(name: &str, sealed: u8) -> Command {
    Command::PutSecret(PutSecret { name: name.into(), expected_revision: None, sealed: vec![sealed] })
}
