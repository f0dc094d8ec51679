//! Who is let in, who is refused, and how fresh a refusal is (`PROTOCOL.md` 2.1, 2.4, 3.4, 9).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flotilla_auth::PublicKey;
use flotilla_model::command::*;
use flotilla_model::{Filters, Status, UserPatch};
use flotilla_session::*;
use tokio::time::Instant;

use crate::between::Between;
use crate::house::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwRXsLPCBr9ZfOTYLRZUcSRjBmhvQSVrJHVAvNwPXVk demo@example";
const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAKJuOLFkyRrCFiSPjdC+GRjEuoA0jHu7m7xD5oqGyBP other";

async fn present(house: &House, credential: Credential) -> AuthOutcome {
    let deadline = Instant::now() + Duration::from_secs(30);
    house.core.authenticate(&house.connection(), "demo", credential, deadline).await
}

#[tokio::test]
async fn only_the_right_password_of_a_user_that_may_log_in_is_accepted() {
    let house = House::build().await;
    house.create("demo", |_| {});
    assert!(matches!(house.login("demo", PASSWORD).await, AuthOutcome::Accepted(_)));
    let long = "x".repeat(2000);
    for (user, password) in
        [("demo", "wrong"), ("demo", ""), ("demo", &long), ("nobody", PASSWORD), ("../x", PASSWORD), ("", "")]
    {
        assert!(matches!(house.login(user, password).await, AuthOutcome::Rejected), "{user} {password}");
    }
    house.create("off", |user| user.status = Status::Disabled);
    house.create("old", |user| user.expiration_date = 1);
    house.create("far", |user| user.filters.denied_ip = vec!["127.0.0.0/8".into()]);
    house.create("keyed", |user| user.filters.denied_login_methods = vec!["password".into()]);
    house.create("ftp", |user| user.filters.denied_protocols = vec!["SSH".into()]);
    for user in ["off", "old", "far", "keyed", "ftp"] {
        assert!(matches!(house.login(user, PASSWORD).await, AuthOutcome::Rejected), "{user}");
    }
}

#[tokio::test]
async fn an_offered_key_opens_no_session_and_a_signed_one_does() {
    let house = House::build().await;
    house.create("demo", |user| user.public_keys = vec![KEY.into()]);
    let (key, other) = (PublicKey::parse_line(KEY).unwrap(), PublicKey::parse_line(OTHER_KEY).unwrap());
    let offer = present(&house, Credential::PublicKeyOffer(key.clone())).await;
    assert!(matches!(offer, AuthOutcome::KeyAcceptable), "{}", told(&offer));
    assert_eq!(house.slots("demo"), 0);
    assert!(matches!(present(&house, Credential::PublicKeyOffer(other.clone())).await, AuthOutcome::Rejected));
    assert!(matches!(present(&house, Credential::PublicKey(other)).await, AuthOutcome::Rejected));
    let signed = present(&house, Credential::PublicKey(key)).await;
    assert!(matches!(signed, AuthOutcome::Accepted(_)), "{}", told(&signed));
    assert_eq!(house.slots("demo"), 1);
}

#[tokio::test]
async fn the_session_limit_holds_and_the_refusal_names_who_is_in_the_way() {
    let house = House::build().await;
    house.create("demo", |user| user.max_sessions = 1);
    let first = house.session("demo").await;
    let remote = first.session().connection().remote();
    let AuthOutcome::AcceptedButRefused(text) = house.login("demo", PASSWORD).await else {
        panic!("a second session must be refused");
    };
    assert!(text.starts_with("demo has 1 of 1 sessions: on node1 from "), "{text}");
    assert!(text.contains(&remote.to_string()) && text.ends_with(" UTC"), "{text}");
    assert!(text.len() <= 400);
    house.leave(first).await;
    assert_eq!(house.slots("demo"), 0);
    house.session("demo").await;
}

#[tokio::test]
async fn bursts_never_let_one_too_many_live_and_never_none() {
    let house = Arc::new(House::build().await);
    house.create("demo", |user| user.max_sessions = 2);
    for _ in 0..3 {
        let logins = (0..8).map(|_| house.login("demo", PASSWORD));
        let outcomes = futures::future::join_all(logins).await;
        let live = outcomes.iter().filter(|outcome| matches!(outcome, AuthOutcome::Accepted(_))).count();
        assert_eq!(live, 2);
        assert_eq!(house.slots("demo"), 2);
        for outcome in outcomes {
            if let AuthOutcome::Accepted(admitted) = outcome {
                house.leave(admitted).await;
            }
        }
    }
}

#[tokio::test]
async fn a_node_that_lags_accepts_a_new_password_and_refuses_the_old_one() {
    let mut between = None;
    let house = House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await;
    let between = between.unwrap();
    house.create("demo", |_| {});
    let new = flotilla_auth::hash_password(b"new one").unwrap();
    between.lag();
    house.update("demo", UserPatch { password_hash: Some(Some(new)), ..UserPatch::default() });
    let fresh = house.login("demo", "new one").await;
    assert!(matches!(fresh, AuthOutcome::Accepted(_)), "{}", told(&fresh));
    between.lag();
    house.update("demo", UserPatch { password_hash: Some(Some(hash())), ..UserPatch::default() });
    let old = house.login("demo", "new one").await;
    assert!(
        matches!(old, AuthOutcome::Rejected),
        "right on the stale state, wrong at the open's index: {}",
        told(&old)
    );
}

#[tokio::test]
async fn a_user_made_a_moment_ago_is_known_to_a_node_that_lags() {
    let mut between = None;
    let house = House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await;
    between.unwrap().lag();
    house.create("demo", |_| {});
    let outcome = house.login("demo", PASSWORD).await;
    assert!(matches!(outcome, AuthOutcome::Accepted(_)), "{}", told(&outcome));
}

#[tokio::test]
async fn without_a_quorum_nobody_is_told_that_the_password_is_wrong() {
    let mut between = None;
    let house = House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await;
    house.create("demo", |_| {});
    between.unwrap().no_quorum.store(true, Ordering::SeqCst);
    for (user, password) in [("demo", PASSWORD), ("demo", "wrong"), ("nobody", "x")] {
        let outcome = house.login(user, password).await;
        assert!(matches!(outcome, AuthOutcome::Unavailable(_)), "{}", told(&outcome));
    }
    assert_eq!(house.core.session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_whose_answer_was_lost_is_repeated_under_its_number() {
    let mut between = None;
    let house = House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await;
    house.create("demo", |user| user.max_sessions = 1);
    let between = between.unwrap();
    between.lose_answers.store(2, Ordering::SeqCst);
    let admitted = house.session("demo").await;
    assert_eq!(between.lose_answers.load(Ordering::SeqCst), 0, "two answers were lost");
    assert_eq!(house.slots("demo"), 1);
    house.leave(admitted).await;
    assert_eq!(house.slots("demo"), 0);
}

#[tokio::test]
async fn a_client_that_leaves_during_its_login_gives_the_slot_back() {
    let mut between = None;
    let house = Arc::new(House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await);
    house.create("demo", |user| user.max_sessions = 1);
    let hold = between.unwrap().hold_answers();
    let login = tokio::spawn({
        let house = Arc::clone(&house);
        async move { house.login("demo", PASSWORD).await }
    });
    eventually("the open is applied", || house.slots("demo") == 1).await;
    login.abort();
    assert!(login.await.is_err());
    hold.add_permits(1);
    eventually("the slot is back", || house.slots("demo") == 0 && house.core.session_count() == 0).await;
}

#[tokio::test]
async fn a_user_disabled_while_the_open_is_on_its_way_gets_no_session() {
    let mut between = None;
    let house = Arc::new(House::build_with(|cluster| Arc::clone(between.insert(Between::new(cluster)))).await);
    house.create("demo", |_| {});
    let hold = between.unwrap().hold_answers();
    let connection = house.connection();
    let login = tokio::spawn({
        let (house, connection) = (Arc::clone(&house), Arc::clone(&connection));
        async move { house.login_on(&connection, "demo", PASSWORD).await }
    });
    eventually("the open is applied", || house.slots("demo") == 1).await;
    house.update("demo", UserPatch { status: Some(Status::Disabled), ..UserPatch::default() });
    assert!(!connection.gate().is_open(), "the gate stood in the table before the open was proposed");
    hold.add_permits(10);
    assert!(!matches!(login.await.unwrap(), AuthOutcome::Accepted(_)));
    eventually("the slot is back", || house.slots("demo") == 0).await;
}

#[tokio::test]
async fn further_channels_take_slots_and_leave_them_to_the_next() {
    let house = House::build().await;
    house.create("demo", |user| user.max_sessions = 2);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    session.open_channel().await.unwrap();
    assert_eq!(house.slots("demo"), 1, "the first uses the session's slot");
    session.open_channel().await.unwrap();
    assert_eq!(house.slots("demo"), 2);
    let refused = session.open_channel().await.unwrap_err();
    assert!(refused.to_string().contains("2 of 2 sessions"), "{refused}");
    session.close_channel();
    assert_eq!(house.slots("demo"), 2, "slots are given back together");
    session.open_channel().await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.slots("demo"), 0);
}

#[tokio::test]
async fn a_thousand_refused_logins_leave_nothing_behind() {
    let house = House::build().await;
    house.create("demo", |user| {
        user.max_sessions = 1;
        user.filters = Filters::default();
    });
    let first = house.session("demo").await;
    for _ in 0..1000 {
        assert!(matches!(house.login("demo", PASSWORD).await, AuthOutcome::AcceptedButRefused(_)));
    }
    assert_eq!((house.slots("demo"), house.core.session_count()), (1, 1));
    house.leave(first).await;
    assert_eq!((house.slots("demo"), house.core.session_count()), (0, 0));
}

#[tokio::test]
async fn a_draining_node_admits_nobody() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    house.core.drain();
    assert!(matches!(house.login("demo", PASSWORD).await, AuthOutcome::Unavailable(_)));
    put(admitted.session(), "/f", b"goes on").await.unwrap();
    assert_eq!(house.core.end_sessions(EndReason::Drained, Duration::from_secs(5)).await, 1, "the front end ends it");
    house.leave(admitted).await;
    assert_eq!(house.core.session_count(), 0);
}

#[tokio::test]
async fn a_storage_of_another_cluster_is_refused_with_a_text() {
    let house = House::build().await;
    house.create("demo", |_| {});
    house.leave(house.session("demo").await).await;
    assert!(house.core.storages().iter().all(|storage| storage.refused.is_none()));
    let other = tempfile::tempdir().unwrap();
    let storage = flotilla_vfs::LocalStorage::open("files", other.path(), Default::default()).await.unwrap();
    let marker = flotilla_vfs::Marker { storage_id: "x".into(), cluster_id: "another".into() };
    storage.write_marker(&marker).await.unwrap();
    let cluster = flotilla_cluster::LocalCluster::start();
    let command = CreateUser { username: name("demo"), spec: spec("demo") };
    cluster.apply(flotilla_model::Command::CreateUser(command)).reply.unwrap();
    let core = Core::new(CoreConfig::default(), cluster, vec![storage]);
    let deadline = Instant::now() + Duration::from_secs(10);
    let connection = core.connection("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
    let outcome = core.authenticate(&connection, "demo", Credential::Password(PASSWORD.into()), deadline).await;
    let AuthOutcome::AcceptedButRefused(text) = outcome else { panic!("{}", told(&outcome)) };
    assert!(text.contains("its marker names another cluster, another"), "{text}");
    assert!(core.storages()[0].refused.is_some());
}

#[tokio::test]
async fn a_storage_whose_marker_has_gone_is_refused() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let marker = std::fs::read_dir(house.path(".flotilla")).unwrap().map(|entry| entry.unwrap().path());
    marker.filter(|path| path.is_file()).for_each(|path| std::fs::remove_file(path).unwrap());
    let outcome = house.login("demo", PASSWORD).await;
    let AuthOutcome::AcceptedButRefused(text) = outcome else { panic!("{}", told(&outcome)) };
    assert!(text.contains("its marker is missing"), "{text}");
    let refused = admitted.session().stat(b"/").await;
    assert!(matches!(refused, Err(Failure::Storage(flotilla_vfs::VfsError::StorageRefused(_)))));
}
