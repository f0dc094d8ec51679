//! Registration, renewal and expiry: the schedules that broke the variants in `models/registration.py`, and their neighbours.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn register(start: u64, replaces: Epoch) -> Command {
    Command::RegisterNode(RegisterNode { store: 1, nonce: 1, node: NodeId(1), start, replaces, version: "test".into() })
}

fn world() -> World {
    let mut world = World::empty();
    world.run(Command::InitCluster(InitCluster { cluster_id: "test".into() })).unwrap();
    world.run(Command::PutNode(put_node(1))).unwrap();
    world.create("demo", UserSpec { max_sessions: 1, ..spec("demo") });
    world
}

/// Without the condition, the late copy ended the epoch under which a session still passed its checks.
#[test]
fn a_registration_delivered_twice_ends_nothing() {
    let mut world = world();
    let first = register(1, Epoch(0));
    world.run(first.clone()).unwrap();
    let epoch = world.epoch(1);
    let session = world.open(1, "demo").unwrap();
    let again = world.run(first);
    assert_eq!(again, Err(Refusal::RegistrationOvertaken { node: NodeId(1), replaces: Epoch(0), actual: epoch }));
    assert_eq!(world.cut(session), None);
    assert!(world.state.epoch_alive(NodeId(1), epoch));
}

/// Request ids instead of the condition did not help: two tries of one process have two ids.
#[test]
fn a_second_try_of_the_same_process_ends_nothing() {
    let mut world = world();
    world.run(register(1, Epoch(0))).unwrap();
    let session = world.open(1, "demo").unwrap();
    assert!(matches!(world.run(register(1, Epoch(0))), Err(Refusal::RegistrationOvertaken { .. })));
    assert_eq!(world.cut(session), None);
}

#[test]
fn a_killed_process_s_late_registration_does_not_end_its_successor_s_epoch() {
    let mut world = world();
    world.run(register(1, Epoch(0))).unwrap();
    let first = world.epoch(1);
    let late = register(1, first);
    world.run(register(2, first)).unwrap();
    let second = world.epoch(1);
    let session = world.open(1, "demo").unwrap();
    assert!(matches!(world.run(late), Err(Refusal::RegistrationOvertaken { .. })));
    assert_eq!((world.epoch(1), world.cut(session)), (second, None));
}

#[test]
fn a_start_counter_that_goes_back_is_refused() {
    let mut world = world();
    world.run(register(5, Epoch(0))).unwrap();
    let epoch = world.epoch(1);
    let refused = world.run(register(4, epoch));
    assert_eq!(refused, Err(Refusal::StartWentBack { node: NodeId(1), start: 4, registered: 5 }));
    world.run(register(5, epoch)).unwrap();
}

#[test]
fn an_entry_takes_one_registration() {
    let mut world = World::new(2);
    let again = |world: &World, node: u64| Envelope {
        id: CommandId::Unnumbered,
        actor: "node".into(),
        command: Command::RegisterNode(RegisterNode {
            store: 1,
            nonce: 1,
            node: NodeId(node),
            start: 99,
            replaces: world.epoch(node),
            version: String::new(),
        }),
    };
    let commands = vec![again(&world, 1), again(&world, 2)];
    let second = commands[1].clone();
    let replies = world.entry(commands);
    assert_eq!(replies, [Ok(Done::Registered { epoch: Epoch(world.index) }), Err(Refusal::RegistrationCollided)]);
    assert!(world.entry(vec![second])[0].is_ok());
}

#[test]
fn expiry_is_dropped_when_a_later_renewal_stands_before_it() {
    let mut world = World::new(1);
    let epoch = world.epoch(1);
    let renew = |numbers: &[u64]| {
        let renewals = numbers.iter().map(|number| (NodeId(1), epoch, *number)).collect();
        Command::Renew(Renew { term: 1, leader_clock_ms: 0, renewals })
    };
    world.run(renew(&[3])).unwrap();
    let expire = |last_renewal| Command::Expire(Expire { node: NodeId(1), epoch, last_renewal });
    assert_eq!(world.run(expire(2)), Ok(Done::Nothing));
    assert_eq!(world.run(renew(&[2])), Ok(Done::Nothing), "an older renewal changes nothing");
    assert_eq!(world.state.node(NodeId(1)).unwrap().renewal, 3);
    assert_eq!(world.run(expire(3)), Ok(Done::Revision(world.index)));
    assert_eq!(world.run(renew(&[4])), Ok(Done::Nothing), "an epoch that is gone is not renewed");
    assert!(!world.state.epoch_alive(NodeId(1), epoch));
    assert_eq!(world.run(expire(9)), Ok(Done::Nothing));
}
