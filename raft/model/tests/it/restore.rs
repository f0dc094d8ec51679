//! A saved state becomes the beginning of another cluster.

use std::collections::BTreeMap;

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::{World, name, put_node, root, spec};

/// Two nodes, a limited user with a session and a grant on node 1, a secret and a storage.
fn lived_in() -> World {
    let mut world = World::new(2);
    world.create("limited", UserSpec { quota_size: 1000, max_sessions: 1, ..spec("limited") });
    world.create("free", spec("free"));
    world.open(1, "limited").unwrap();
    world.open(2, "free").unwrap();
    for secret in ["keep", "drop"] {
        let put = PutSecret { name: secret.into(), expected_revision: Some(0), sealed: b"old".to_vec() };
        world.run(Command::PutSecret(put)).unwrap();
    }
    let adopt = AdoptStorage { name: crate::world::storage(), storage_id: "s".into(), node: NodeId(1) };
    world.run(Command::AdoptStorage(adopt)).unwrap();
    world
}

fn restored(world: &World) -> State {
    let secrets = BTreeMap::from([("keep".to_owned(), b"new".to_vec())]);
    world.state.restored("another", &secrets, put_node(1), WallTime(world.wall)).unwrap()
}

#[test]
fn nobody_is_connected_nothing_is_leased_and_people_and_settings_are_there() {
    let world = lived_in();
    assert!(world.state.live_sessions().count() == 2 && world.state.nodes().count() == 2);
    let state = restored(&world);
    assert_eq!(state.settings().unwrap().cluster_id, "another");
    assert_eq!(state.live_sessions().count() + state.storages().count(), 0);
    let nodes: Vec<_> = state.nodes().map(|node| (node.id, node.alive, node.last_epoch)).collect();
    assert_eq!(nodes, [(NodeId(1), false, Epoch(0))]);
    assert_eq!(state.slots_in_use(&name("limited")), 0);
    assert_eq!(state.user(&name("limited")), world.state.user(&name("limited")));
    assert_eq!(state.user_count(), 2);
    assert_eq!(state.secret("keep").unwrap().sealed, b"new");
    assert!(state.secret("drop").is_none());
    assert_eq!(state.applied_index(), world.state.applied_index() + 1);
    assert_eq!(invariant::check_all(&state), Ok(()));
}

#[test]
fn grants_count_as_used_and_every_account_waits_for_a_scan() {
    let world = lived_in();
    let before = world.state.account_by_root(&root("limited")).unwrap();
    let state = restored(&world);
    let after = state.account_by_root(&root("limited")).unwrap();
    assert_eq!(after.used, before.taken());
    assert!(after.holders.is_empty() && after.waiters.is_empty());
    for account in state.accounts() {
        assert!(account.marked && account.uncertain && state.wants_scan(account));
        assert!(state.account_is_uncertain(account));
        assert_eq!(state.scan_obstacle(account, false), None);
    }
}

#[test]
fn a_restored_state_travels_as_a_snapshot_and_lives_on() {
    let world = lived_in();
    let state = restored(&world);
    let chunks: Vec<Vec<u8>> = state.to_snapshot().collect();
    assert_eq!(State::from_snapshot(&chunks).unwrap(), state);
    let old_epoch = world.epoch(1);
    let mut again = World::empty();
    again.index = state.applied_index();
    again.state = state;
    let epoch = again.register(1);
    assert!(epoch > old_epoch, "{epoch:?} must not be an epoch of the old cluster");
    again.open(1, "limited").unwrap();
    assert!(again.open(1, "limited").is_err(), "the limit of one session holds");
}
