//! Secrets, tokens, storages.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn put_secret(expected_revision: Option<LogIndex>, sealed: u8) -> Command {
    Command::PutSecret(PutSecret { name: "host key".into(), expected_revision, sealed: vec![sealed] })
}

#[test]
fn of_two_nodes_that_make_the_first_host_key_one_wins() {
    let mut world = World::new(2);
    let won = world.index + 1;
    assert_eq!(world.run(put_secret(Some(0), 1)), Ok(Done::Revision(won)));
    assert_eq!(world.run(put_secret(Some(0), 2)), Err(Refusal::RevisionMismatch { expected: 0, actual: won }));
    assert_eq!(world.state.secret("host key").unwrap().sealed, [1]);
    world.run(put_secret(Some(won), 3)).unwrap();
    world.run(put_secret(None, 4)).unwrap();
    assert_eq!(world.state.secret("host key").unwrap().sealed, [4]);
}

#[test]
fn a_token_is_replaced_only_if_so_wished_and_can_be_deleted_once() {
    let mut world = World::new(1);
    let put = |hash: u8, replace| {
        let permissions = vec!["*".to_owned()];
        Command::PutToken(PutToken { name: "ops".into(), hash: [hash; 32], permissions, expires_at: 0, replace })
    };
    world.run(put(1, false)).unwrap();
    assert_eq!(world.run(put(2, false)), Err(Refusal::NameExists { name: "ops".into() }));
    world.run(put(3, true)).unwrap();
    assert_eq!(world.state.token("ops").unwrap().hash, [3; 32]);
    let delete = Command::DeleteToken(DeleteToken { name: "ops".into(), expected_revision: None });
    world.run(delete.clone()).unwrap();
    assert_eq!(world.run(delete), Err(Refusal::NameNotFound { name: "ops".into() }));
}

fn adopt(node: u64, storage_id: &str) -> Command {
    let storage_id = storage_id.to_owned();
    Command::AdoptStorage(AdoptStorage { name: storage(), storage_id, node: NodeId(node) })
}

fn written(storage_id: &str) -> Command {
    Command::MarkerWritten(MarkerWritten { name: storage(), storage_id: storage_id.to_owned() })
}

#[test]
fn the_first_node_adopts_a_storage_and_writes_its_marker() {
    let mut world = World::new(2);
    assert_eq!(world.run(written("one")), Err(Refusal::NameNotFound { name: "files".into() }));
    world.run(adopt(1, "one")).unwrap();
    let known = Err(Refusal::StorageKnown { name: storage(), storage_id: "one".into() });
    assert_eq!(world.run(adopt(2, "two")), known);
    assert_eq!(world.run(adopt(2, "one")), known, "one node at a time may write the marker");
    assert!(world.run(adopt(1, "one")).is_ok(), "a repeated adoption changes nothing");
    assert_eq!(world.run(written("two")), known);
    world.run(written("one")).unwrap();
    assert_eq!(world.run(written("one")), Ok(Done::Nothing));
    assert!(world.state.storage(&storage()).unwrap().marker_written);
}

#[test]
fn another_node_writes_the_marker_when_the_first_is_gone() {
    let mut world = World::new(2);
    world.run(adopt(1, "one")).unwrap();
    world.expire(1).unwrap();
    world.run(adopt(2, "one")).unwrap();
    assert_eq!(world.state.storage(&storage()).unwrap().marker_by, NodeId(2));
}
