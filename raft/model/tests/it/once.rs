//! Every command once: repeated ids, floors, windows.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn request(world: &World, ahead_ms: i64, low: u128) -> CommandId {
    let ms = world.wall.strict_add_signed(ahead_ms);
    CommandId::Request(RequestId(u128::from(ms) << 80 | low))
}

fn create(username: &str) -> Command {
    Command::CreateUser(CreateUser { username: name(username), spec: spec(username) })
}

#[test]
fn a_repeated_request_answers_the_same_even_when_it_was_refused() {
    let mut world = World::new(1);
    let (first, second) = (request(&world, 0, 1), request(&world, 0, 2));
    let created = world.run_as(first, create("demo"));
    let refused = world.run_as(second, create("demo"));
    assert_eq!(refused, Err(Refusal::UserExists { username: name("demo") }));
    world.run(Command::DeleteUser(DeleteUser { username: name("demo"), expected_revision: None })).unwrap();
    assert_eq!(world.run_as(first, create("demo")), created);
    assert_eq!(world.run_as(second, create("demo")), refused);
    assert!(world.state.user(&name("demo")).is_none());
}

#[test]
fn a_request_more_than_five_minutes_ahead_is_refused_and_not_kept() {
    let mut world = World::new(1);
    let future = request(&world, 5 * 60 * 1_000 + 60_000, 1);
    assert_eq!(world.run_as(future, create("demo")), Err(Refusal::RequestFromFuture));
    assert!(Refusal::RequestFromFuture.is_definite());
    world.wall += 120_000;
    assert!(world.run_as(future, create("demo")).is_ok());
}

#[test]
fn a_request_below_the_floor_is_expired_and_that_is_not_definite() {
    let mut world = World::new(1);
    let token = |name: u128| {
        let (hash, name, permissions) = ([(name % 7) as u8; 32], format!("t{}", name % 7), Vec::new());
        Command::PutToken(PutToken { name, hash, permissions, expires_at: 0, replace: true })
    };
    let first = request(&world, 0, 0);
    world.run_as(first, token(0)).unwrap();
    for low in 1..=10_000 {
        let id = request(&world, 0, low);
        world.run_as(id, token(low)).unwrap();
    }
    let late = world.run_as(first, token(0));
    assert_eq!(late, Err(Refusal::RequestExpired));
    assert!(!late.unwrap_err().is_definite());
    invariant::check_all(&world.state).unwrap();
}

/// A node's number as a command of that number.
fn numbered(world: &World, number: u64, answered_below: u64) -> CommandId {
    CommandId::Node { node: NodeId(1), epoch: world.epoch(1), number, answered_below }
}

#[test]
fn a_number_at_or_below_the_floor_is_forgotten_and_that_is_not_definite() {
    let mut world = World::new(1);
    world.create("demo", spec("demo"));
    let open = world.open_command("demo");
    for number in 1..=5 {
        let id = numbered(&world, number, number);
        world.run_as(id, open.clone()).unwrap();
    }
    assert_eq!(world.state.node(NodeId(1)).unwrap().floor, 4);
    let (at_floor, above) = (numbered(&world, 4, 1), numbered(&world, 5, 1));
    assert_eq!(world.run_as(at_floor, open.clone()), Err(Refusal::NumberForgotten { number: 4 }));
    assert!(!Refusal::NumberForgotten { number: 4 }.is_definite());
    assert!(matches!(world.run_as(above, open), Ok(Done::Opened { .. })));
    assert_eq!(world.state.slots_in_use(&name("demo")), 5);
}

/// `models/slots.py`, the open that is not repeated: the floor must stand still for it.
#[test]
fn an_open_that_was_lost_is_taken_when_it_is_repeated_behind_others() {
    let mut world = World::new(1);
    world.create("demo", spec("demo"));
    let open = world.open_command("demo");
    let (second, third, lost) = (numbered(&world, 2, 1), numbered(&world, 3, 1), numbered(&world, 1, 1));
    world.run_as(second, open.clone()).unwrap();
    world.run_as(third, open.clone()).unwrap();
    assert!(matches!(world.run_as(lost, open), Ok(Done::Opened { .. })));
}

/// `models/slots.py`, the close that comes first and is not remembered: the open would leak its slot.
#[test]
fn a_forgotten_close_cannot_leak_a_slot_across_the_floor() {
    let mut world = World::new(1);
    world.create("demo", UserSpec { max_sessions: 1, ..spec("demo") });
    let open = world.open_command("demo");
    let session = SessionId { node: NodeId(1), epoch: world.epoch(1), number: 1 };
    let (close, late) = (numbered(&world, 2, 1), numbered(&world, 1, 1));
    world.run_as(close, close_command(session)).unwrap();
    // The node knows the close's answer and gives the open up: both lie below the floor now.
    let next = numbered(&world, 3, 3);
    let opened = world.run_as(next, open.clone());
    assert!(opened.is_ok());
    assert_eq!(world.run_as(late, open), Err(Refusal::NumberForgotten { number: 1 }));
    assert_eq!(world.state.slots_in_use(&name("demo")), 1);
}

#[test]
fn numbers_too_far_above_the_floor_are_refused_and_may_come_later() {
    let mut world = World::new(1);
    world.create("demo", spec("demo"));
    let open = world.open_command("demo");
    let far = numbered(&world, 4_097, 1);
    assert_eq!(world.run_as(far, open.clone()), Err(Refusal::NumberTooFar { number: 4_097, window: 4_096 }));
    let known = numbered(&world, 4_097, 2);
    assert!(world.run_as(known, open).is_ok());
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn nothing_but_the_first_command_is_taken_by_an_uninitialised_cluster() {
    let mut world = World::empty();
    assert_eq!(world.run(Command::PutNode(put_node(1))), Err(Refusal::NotInitialised));
    let init = Command::InitCluster(InitCluster { cluster_id: "one".into() });
    world.run(init.clone()).unwrap();
    assert_eq!(world.run(init), Err(Refusal::AlreadyInitialised { cluster_id: "one".into() }));
}

#[test]
fn a_command_of_an_unknown_node_is_refused() {
    let mut world = World::new(1);
    world.create("demo", spec("demo"));
    let id = CommandId::Node { node: NodeId(9), epoch: Epoch(1), number: 1, answered_below: 1 };
    let open = world.open_command("demo");
    assert_eq!(world.run_as(id, open), Err(Refusal::NodeNotFound { node: NodeId(9) }));
}
