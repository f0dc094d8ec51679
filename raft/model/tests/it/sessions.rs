//! Sessions, slots and their limit.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn world_with_limit(max_sessions: u32) -> World {
    let mut world = World::new(3);
    world.create("demo", UserSpec { max_sessions, ..spec("demo") });
    world
}

#[test]
fn second_session_is_refused_when_the_limit_is_one_and_names_the_first() {
    let mut world = world_with_limit(1);
    let first = world.open(1, "demo").unwrap();
    let Err(Refusal::SessionLimitReached { max_sessions: 1, in_use: 1, holders, .. }) = world.open(2, "demo") else {
        panic!("the second session was not refused by the limit");
    };
    assert_eq!(holders.len(), 1);
    assert_eq!((holders[0].session, holders[0].remote.as_str()), (first, "192.0.2.1:4711"));
    world.close(first).unwrap();
    world.open(2, "demo").unwrap();
}

#[test]
fn expiry_frees_the_slots_at_once_and_sweeps_the_rows() {
    let mut world = world_with_limit(1);
    let first = world.open(1, "demo").unwrap();
    world.expire(1).unwrap();
    assert!(world.state.session(first).is_none(), "swept behind the same entry");
    world.open(2, "demo").unwrap();
    assert_eq!(world.state.user_sessions(&name("demo")).count(), 1);
}

#[test]
fn disabling_a_user_cuts_its_sessions_and_names_their_nodes() {
    let mut world = world_with_limit(0);
    let one = world.open(1, "demo").unwrap();
    let three = world.open(3, "demo").unwrap();
    let reply = world.update("demo", UserPatch { status: Some(Status::Disabled), ..UserPatch::default() });
    assert_eq!(reply, Ok(Done::Revoked { revision: world.index, nodes: vec![NodeId(1), NodeId(3)] }));
    assert_eq!([world.cut(one), world.cut(three)], [Some(CutReason::UserDisabled); 2]);
    world.update("demo", UserPatch { status: Some(Status::Enabled), ..UserPatch::default() }).unwrap();
    assert_eq!(world.cut(one), Some(CutReason::UserDisabled), "a later command does not unmark");
    let new = world.open(1, "demo").unwrap();
    assert_eq!(world.cut(new), None);
}

#[test]
fn a_lowered_limit_ends_the_newest_sessions_first() {
    let mut world = world_with_limit(0);
    let sessions: Vec<_> = (0..4).map(|turn| world.open(1 + turn % 3, "demo").unwrap()).collect();
    let reply = world.update("demo", UserPatch { max_sessions: Some(2), ..UserPatch::default() });
    assert_eq!(reply, Ok(Done::Revoked { revision: world.index, nodes: vec![NodeId(1), NodeId(3)] }));
    let cuts: Vec<_> = sessions.iter().map(|session| world.cut(*session).is_some()).collect();
    assert_eq!(cuts, [false, false, true, true]);
}

#[test]
fn a_repeated_open_answers_the_same_and_takes_one_slot() {
    let mut world = world_with_limit(2);
    let (id, command) = (world.id(1), world.open_command("demo"));
    let first = world.run_as(id, command.clone());
    let second = world.run_as(id, command);
    assert_eq!(first, second);
    assert_eq!(world.state.slots_in_use(&name("demo")), 1);
}

#[test]
fn a_close_that_comes_before_its_open_is_remembered() {
    let mut world = world_with_limit(1);
    let (open_id, command) = (world.id(1), world.open_command("demo"));
    let CommandId::Node { node, epoch, number, .. } = open_id else { panic!("a node's id") };
    let session = SessionId { node, epoch, number };
    let CommandId::Node { number: close_number, .. } = world.id(1) else { panic!("a node's id") };
    let close_id = CommandId::Node { node, epoch, number: close_number, answered_below: number };
    assert_eq!(world.run_as(close_id, close_command(session)), Ok(Done::Nothing));
    assert_eq!(world.run_as(open_id, command), Err(Refusal::SessionClosedBefore { session }));
    assert_eq!(world.state.slots_in_use(&name("demo")), 0);
}

#[test]
fn a_dead_epoch_opens_nothing_but_may_close() {
    let mut world = world_with_limit(1);
    let (id, command) = (world.id(1), world.open_command("demo"));
    let session = world.open(1, "demo").unwrap();
    let (close_id, epoch) = (world.id(1), world.epoch(1));
    world.register(1);
    assert_eq!(world.run_as(id, command), Err(Refusal::StaleEpoch { node: NodeId(1), epoch }));
    assert_eq!(world.run_as(close_id, close_command(session)), Ok(Done::Nothing));
}

#[test]
fn a_second_slot_counts_against_the_limit() {
    let mut world = world_with_limit(2);
    let session = world.open(1, "demo").unwrap();
    let add = Command::AddSlot(AddSlot { session });
    let (first, second) = (world.id(1), world.id(1));
    world.run_as(first, add.clone()).unwrap();
    assert!(matches!(world.run_as(second, add), Err(Refusal::SessionLimitReached { in_use: 2, .. })));
    assert!(matches!(world.open(2, "demo"), Err(Refusal::SessionLimitReached { in_use: 2, .. })));
    world.close(session).unwrap();
    world.open(2, "demo").unwrap();
}

#[test]
fn a_killed_session_keeps_its_slot_until_its_node_closes_it() {
    let mut world = world_with_limit(1);
    let session = world.open(2, "demo").unwrap();
    let reply = world.run(Command::KillSession(KillSession { session }));
    assert_eq!(reply, Ok(Done::Revoked { revision: world.index, nodes: vec![NodeId(2)] }));
    assert_eq!(world.cut(session), Some(CutReason::Killed));
    assert!(world.open(1, "demo").is_err());
    world.close(session).unwrap();
    world.open(1, "demo").unwrap();
}

/// What nodes ask for does not depend on how the leader groups it.
#[test]
fn the_split_into_entries_changes_no_outcome() {
    let outcomes = |group: usize| {
        let mut world = World::new(3);
        for user in 0..5 {
            let max_sessions = 1 + user % 3;
            world.create(&format!("user{user}"), UserSpec { max_sessions, ..spec(&format!("h/{user}")) });
        }
        let mut commands = Vec::new();
        let mut opened = Vec::new();
        for turn in 0_u64..2_000 {
            let id = world.id(1 + turn * 7 % 3);
            let CommandId::Node { node, epoch, number, .. } = id else { panic!("a node's id") };
            let session = SessionId { node, epoch, number };
            let own: Vec<SessionId> = opened.iter().copied().filter(|other: &SessionId| other.node == node).collect();
            let command = match (turn % 5, own.first()) {
                (0 | 1, Some(first)) => {
                    opened.retain(|other| other != first);
                    close_command(*first)
                }
                (2, Some(first)) => Command::AddSlot(AddSlot { session: *first }),
                _ => {
                    opened.push(session);
                    world.open_command(&format!("user{}", turn * 13 % 5))
                }
            };
            commands.push(Envelope { id, actor: "node".into(), command });
        }
        let mut replies = Vec::new();
        for group in commands.chunks(group) {
            replies.extend(world.entry(group.to_vec()));
        }
        let granted: Vec<bool> = replies.iter().map(Result::is_ok).collect();
        let live: Vec<(SessionId, u32)> = world.state.live_sessions().map(|s| (s.id, s.slots)).collect();
        let facts: Vec<_> = world.state.events_after(0).unwrap().map(|event| event.fact.clone()).collect();
        (granted, live, facts.into_iter().rev().take(1_000).collect::<Vec<_>>())
    };
    let (single, many) = (outcomes(1), outcomes(37));
    assert!(single.0.contains(&false) && single.0.contains(&true));
    assert_eq!(single.0, many.0);
    assert_eq!(single.1, many.1);
    assert_eq!(single.2, many.2);
}
