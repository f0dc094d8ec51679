//! Snapshots: what goes in comes out, in bounded chunks.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn busy_world() -> World {
    let mut world = World::new(3);
    for user in 0..2_000 {
        let description = "x".repeat(1_000);
        world
            .create(&format!("user{user}"), UserSpec { max_sessions: 2, description, ..spec(&format!("home/{user}")) });
    }
    for user in 0..1_500 {
        world.open(1 + user % 3, &format!("user{user}")).unwrap();
    }
    world
        .run(Command::PutSecret(PutSecret { name: "host".into(), expected_revision: Some(0), sealed: vec![7; 9] }))
        .unwrap();
    let adopt = AdoptStorage { name: storage(), storage_id: "s".into(), node: NodeId(1) };
    world.run(Command::AdoptStorage(adopt)).unwrap();
    // Leaves rows to sweep.
    world.expire(2).unwrap();
    world
}

#[test]
fn a_restored_state_equals_the_original_and_goes_on_alike() {
    let mut world = busy_world();
    assert_eq!(world.state.dead_epochs().count(), 1);
    let chunks: Vec<Vec<u8>> = world.state.to_snapshot().collect();
    assert!(chunks.len() > 5);
    assert!(chunks.iter().all(|chunk| chunk.len() <= 1024 * 1024));
    let mut restored = State::from_snapshot(&chunks).unwrap();
    assert!(restored == world.state);
    let entry = Entry { time: LogTime(1), wall: WallTime(1), commands: Vec::new() };
    assert_eq!(restored.apply(world.index + 1, &entry), world.state.apply(world.index + 1, &entry));
    assert!(restored == world.state);
    invariant::check_all(&restored).unwrap();
}

#[test]
fn a_snapshot_without_one_of_its_chunks_is_refused() {
    let chunks: Vec<Vec<u8>> = busy_world().state.to_snapshot().collect();
    for missing in 0..chunks.len() {
        let rest = chunks.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, chunk)| chunk);
        assert!(State::from_snapshot(rest).is_err(), "chunk {missing} is missing and nobody noticed");
    }
    assert!(State::from_snapshot(Vec::<Vec<u8>>::new()).is_err());
}

#[test]
fn a_snapshot_of_a_newer_version_is_refused_by_name() {
    let Err(error) = State::from_snapshot([[2_u8, 0]]) else { panic!("a newer snapshot was read") };
    assert!(error.to_string().contains("newer program"), "{error}");
}
