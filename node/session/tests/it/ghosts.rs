//! No ghost keeps a user out, and no living session is taken for one (`PROTOCOL.md` 2.5).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flotilla_cluster::{Cluster, LocalCluster};
use flotilla_model::command::*;
use flotilla_model::{Amount, Command, CommandId, Epoch, NodeId, SessionId};
use flotilla_session::*;
use tokio::time::Instant;

use crate::between::{Between, Moment};
use crate::house::*;

async fn house_of_one() -> House {
    let house = House::build().await;
    house.create("demo", |user| user.max_sessions = 1);
    house
}

/// The front end ends a session whose connection was cut.
fn ends_when_cut(admitted: Admitted) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        admitted.session().connection().gate().closed().await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_client_is_silent_and_does_not_answer_makes_way() {
    let house = house_of_one().await;
    let ghost = house.session("demo").await;
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    ghost.session().connection().set_probe(Box::new(move || _ = count.fetch_add(1, Ordering::SeqCst)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ghost = ends_when_cut(ghost);
    let begun = Instant::now();
    house.session("demo").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "two seconds to answer, then the way is clear");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    ghost.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_that_answers_the_probe_stays() {
    let house = house_of_one().await;
    let first = house.session("demo").await;
    let connection = Arc::clone(first.session().connection());
    let answering = Arc::downgrade(&connection);
    connection.set_probe(Box::new(move || {
        let connection = answering.upgrade().unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            connection.note_received();
        });
    }));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let outcome = house.login("demo", PASSWORD).await;
    assert!(matches!(outcome, AuthOutcome::AcceptedButRefused(_)), "{}", told(&outcome));
    assert!(connection.gate().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sent_something_lately_is_not_asked() {
    let house = house_of_one().await;
    let first = house.session("demo").await;
    first.session().connection().set_probe(Box::new(|| panic!("a client that is not silent was asked")));
    tokio::time::sleep(Duration::from_secs(60)).await;
    first.session().connection().note_received();
    assert!(matches!(house.login("demo", PASSWORD).await, AuthOutcome::AcceptedButRefused(_)));
}

#[tokio::test(start_paused = true)]
async fn a_running_job_is_life_unless_it_waits_for_a_send_queue_that_does_not_move() {
    let house = house_of_one().await;
    let first = house.session("demo").await;
    let connection = Arc::clone(first.session().connection());
    let job = connection.job();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(house.login("demo", PASSWORD).await, AuthOutcome::AcceptedButRefused(_)));
    let blocked = || Err(std::io::ErrorKind::WouldBlock.into());
    assert!(connection.gate().write(blocked).is_err());
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(matches!(house.login("demo", PASSWORD).await, AuthOutcome::AcceptedButRefused(_)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ghost = ends_when_cut(first);
    drop(job);
    house.session("demo").await;
    ghost.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ghost_makes_way_for_a_second_channel_too() {
    let house = House::build().await;
    house.create("demo", |user| user.max_sessions = 2);
    let ghost = house.session("demo").await;
    let living = house.session("demo").await;
    let session = Arc::clone(living.session());
    session.open_channel().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ghost = ends_when_cut(ghost);
    session.connection().note_received();
    session.open_channel().await.expect("the ghost is asked, and does not answer");
    assert_eq!(house.slots("demo"), 2, "both are the living one's");
    ghost.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_channel_is_refused_while_the_sessions_in_the_way_live() {
    let house = House::build().await;
    house.create("demo", |user| user.max_sessions = 2);
    let other = house.session("demo").await;
    let living = house.session("demo").await;
    let session = Arc::clone(living.session());
    session.open_channel().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    other.session().connection().note_received();
    let refused = session.open_channel().await.expect_err("both slots are used");
    assert!(refused.to_string().contains("127.0.0.1"), "names who is in the way: {refused}");
    assert!(other.session().connection().gate().is_open());
    session.close_channel();
    session.open_channel().await.expect("the first channel's slot is free again");
}

/// Another node, whose session of the user comes before each ask and goes behind it.
fn rival(cluster: Arc<LocalCluster>, asks: Arc<AtomicU32>) -> impl FnMut(Moment) {
    let put = PutNode {
        public_key: Vec::new(),
        node: NodeId(2),
        name: "rival".into(),
        peer_address: "127.0.0.2:7982".into(),
        admin_address: String::new(),
        sftp_address: String::new(),
    };
    cluster.apply(Command::PutNode(put)).reply.unwrap();
    let register =
        RegisterNode { store: 2, nonce: 2, node: NodeId(2), start: 1, replaces: Epoch(0), version: "test".into() };
    let epoch = Epoch(cluster.apply(Command::RegisterNode(register)).index);
    let (mut number, mut open) = (0, None);
    move |moment| {
        number += 1;
        let id = CommandId::Node { node: NodeId(2), epoch, number, answered_below: number };
        let command = match (moment, open.take()) {
            (Moment::Before, _) => {
                asks.fetch_add(1, Ordering::SeqCst);
                let user = Arc::clone(cluster.state().user(&name("demo")).unwrap());
                open = Some(SessionId { node: NodeId(2), epoch, number });
                Command::OpenSession(OpenSession {
                    username: user.username.clone(),
                    incarnation: user.incarnation,
                    credential_revision: user.credential_revision,
                    remote: "192.0.2.9:4711".into(),
                    protocol: "SFTP".into(),
                    method: "password".into(),
                    ahead: Amount::ZERO,
                })
            }
            (Moment::Behind, session) => Command::CloseSession(CloseSession {
                session: session.unwrap(),
                reason: "done".into(),
                bytes_uploaded: 0,
                bytes_downloaded: 0,
            }),
        };
        cluster.apply_as(id, "node 2", command).reply.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_channel_that_always_comes_too_late_is_told_of_the_limit_and_asks_no_more() {
    let mut between = None;
    let house = House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await;
    house.create("demo", |user| user.max_sessions = 2);
    let living = house.session("demo").await;
    let session = Arc::clone(living.session());
    session.open_channel().await.unwrap();
    let asks = Arc::new(AtomicU32::new(0));
    *between.unwrap().rival.lock().unwrap() = Some(Box::new(rival(Arc::clone(&house.cluster), Arc::clone(&asks))));
    let refused = session.open_channel().await.expect_err("a rival takes each slot");
    assert!(refused.to_string().contains("2 of 2 sessions"), "{refused}");
    let asked = asks.load(Ordering::SeqCst);
    assert!(asked > 1, "the way was clear each time");
    tokio::time::timeout(Duration::from_millis(150), session.open_channel()).await.expect_err("the client leaves");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(asks.load(Ordering::SeqCst) - asked, 2, "the ask that was on its way was the last one");
    assert_eq!(house.slots("demo"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_comes_when_its_asker_has_gone_is_the_next_channels() {
    let mut between = None;
    let house = House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await;
    house.create("demo", |_| {});
    let living = house.session("demo").await;
    let session = Arc::clone(living.session());
    session.open_channel().await.unwrap();
    *between.unwrap().rival.lock().unwrap() = Some(Box::new(|_| {}));
    tokio::time::timeout(Duration::from_millis(50), session.open_channel()).await.expect_err("the client leaves");
    assert_eq!(house.slots("demo"), 1, "its ask is on its way");
    session.open_channel().await.unwrap();
    assert_eq!(house.slots("demo"), 2, "two channels, two slots");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closing_already_is_waited_for() {
    let house = house_of_one().await;
    let first = house.session("demo").await;
    let job = first.session().connection().job();
    drop(first);
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(job);
    });
    house.session("demo").await;
    release.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_on_a_node_out_of_reach_is_waited_for_until_its_lease_is_over() {
    let (house, _) = house_with_a_dead_node().await;
    let house = Arc::new(house);
    let expiry = tokio::spawn({
        let house = Arc::clone(&house);
        async move {
            tokio::time::sleep(Duration::from_secs(6)).await;
            let node = Arc::clone(house.cluster.state().node(NodeId(2)).unwrap());
            let expire = Expire { node: NodeId(2), epoch: node.last_epoch, last_renewal: node.renewal };
            house.cluster.apply(Command::Expire(expire)).reply.unwrap();
        }
    });
    let begun = Instant::now();
    house.session("demo").await;
    assert!(begun.elapsed() >= Duration::from_secs(6));
    expiry.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_node_out_of_reach_ends_after_eight_seconds() {
    let (house, _) = house_with_a_dead_node().await;
    let begun = Instant::now();
    let outcome = house.login("demo", PASSWORD).await;
    let AuthOutcome::AcceptedButRefused(text) = outcome else { panic!("{}", told(&outcome)) };
    assert!(text.contains("on node2 from 192.0.2.1:7"), "{text}");
    assert!(
        begun.elapsed() >= Duration::from_secs(7) && begun.elapsed() < Duration::from_secs(11),
        "{:?}",
        begun.elapsed()
    );
}

/// The user's only slot is held on a node that does not answer.
async fn house_with_a_dead_node() -> (House, Epoch) {
    let house = House::build_with(Between::new).await;
    house.create("demo", |user| user.max_sessions = 1);
    let node = NodeId(2);
    house.cluster.apply(Command::PutNode(PutNode {
        public_key: Vec::new(),
        node,
        name: "node2".into(),
        peer_address: "127.0.0.1:1".into(),
        admin_address: "127.0.0.1:2".into(),
        sftp_address: "127.0.0.1:3".into(),
    }));
    let register = RegisterNode { store: 1, nonce: 1, node, start: 1, replaces: Epoch(0), version: "test".into() };
    let epoch = Epoch(house.cluster.apply(Command::RegisterNode(register)).index);
    let user = house.cluster.state().user(&name("demo")).unwrap().clone();
    let open = OpenSession {
        username: name("demo"),
        incarnation: user.incarnation,
        credential_revision: user.credential_revision,
        remote: "192.0.2.1:7".into(),
        protocol: "SFTP".into(),
        method: "password".into(),
        ahead: flotilla_model::Amount::ZERO,
    };
    let id = CommandId::Node { node, epoch, number: 1, answered_below: 1 };
    house.cluster.apply_as(id, "node 2", Command::OpenSession(open)).reply.unwrap();
    (house, epoch)
}
