//! Sources whose connections come to nothing are refused for a while; others, and what is not their fault, are not.

use std::time::Duration;

use flotilla_cluster::Cluster;
use flotilla_model::UserPatch;
use flotilla_ssh::PenaltyRules;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::{PASSWORD, USER, World, eventually};
use crate::{client, openssh};

/// A world in which loopback is a source as any other. Three failures are enough, and nothing runs off during a test.
async fn strict() -> World {
    strict_about(HOUR / 60).await
}

const HOUR: Duration = Duration::from_secs(3600);

/// With a penalty for connections that try nothing.
async fn strict_about(no_auth: Duration) -> World {
    World::with(|config| {
        config.limits.penalties = PenaltyRules {
            auth_failed: HOUR,
            no_auth,
            least: 3 * HOUR,
            most: 10 * HOUR,
            exempt: Vec::new(),
            ..PenaltyRules::default()
        };
    })
    .await
}

/// Whether the server says anything at all.
async fn greets(world: &World) -> bool {
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    let mut greeting = [0; 4];
    tcp.read_exact(&mut greeting).await.is_ok() && &greeting == b"SSH-"
}

async fn settled(world: &World) {
    eventually("the connection is over", || world.handle.connections() == 0).await;
}

#[tokio::test]
async fn a_source_that_fails_three_times_is_refused_before_key_exchange() {
    let world = strict().await;
    for _ in 0..3 {
        assert!(greets(&world).await);
        settled(&world).await;
        let mut client = client::connect(&world).await;
        client.authenticate_password(USER, "wrong").await.unwrap();
        drop(client);
        settled(&world).await;
    }
    assert!(!greets(&world).await, "nothing is said to it any more");
    assert!(!openssh::batch(&world, "pwd\n").await.ok, "also with the right password");
}

#[tokio::test]
async fn a_node_that_can_log_nobody_in_blames_nobody() {
    let world = strict_about(HOUR).await;
    world.cluster.lease().unwrap().kill();
    let refused = futures::future::join_all((0..6).map(|_| client::refused_with(&world))).await;
    assert!(refused.iter().all(|text| text.contains("no quorum")), "{refused:?}");
    settled(&world).await;
    assert!(greets(&world).await, "it would be served by a node with a lease");
}

#[tokio::test]
async fn refusals_that_are_not_the_clients_fault_do_not_count() {
    let world = strict().await;
    world.update(UserPatch { max_sessions: Some(1), ..UserPatch::default() });
    let first = client::logged_in(&world).await;
    for _ in 0..5 {
        let said = openssh::run(openssh::sftp(&world, PASSWORD, &[]), "pwd\n").await;
        assert!(said.err.contains("1 of 1 sessions"), "{}", said.err);
    }
    drop(first);
    settled(&world).await;
    openssh::batch(&world, "pwd\n").await.success();
}
