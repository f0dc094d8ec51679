//! Logins, refused and not.

use std::time::{Duration, Instant};

use flotilla_cluster::Cluster;
use flotilla_model::UserPatch;
use russh::client::AuthResult;

use crate::world::{PASSWORD, USER, World, eventually};
use crate::{client, openssh};

#[tokio::test]
async fn a_password_opens_a_session_that_lists_and_downloads() {
    let world = World::build().await;
    openssh::batch(&world, "ls\n").await.success();
    std::fs::write(world.home("hello.txt"), "hello").unwrap();
    let target = world.scratch("got");
    let said = openssh::batch(&world, &format!("ls -l\nget hello.txt {}\n", target.display())).await.success();
    assert!(said.out.contains("hello.txt"), "{}", said.out);
    assert_eq!(std::fs::read(target).unwrap(), b"hello");
    eventually("the slot is back", || world.sessions() == 0).await;
}

#[tokio::test]
async fn a_key_opens_a_session_and_another_one_does_not() {
    let world = World::build().await;
    for (file, known) in [("good", true), ("bad", false)] {
        let key = russh::keys::PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
        let path = world.scratch(file);
        std::fs::write(&path, key.to_openssh(Default::default()).unwrap().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        if known {
            let line = key.public_key().to_openssh().unwrap();
            world.update(UserPatch { public_keys: Some(vec![line]), ..UserPatch::default() });
        }
        let said = openssh::run(openssh::sftp_with_key(&world, &path), "pwd\n").await;
        assert_eq!(said.ok, known, "{}", said.err);
        assert_eq!(said.err.contains("Permission denied"), !known, "{}", said.err);
    }
}

/// Partners have them: with SHA-2 signatures, never with SHA-1.
#[tokio::test]
async fn an_rsa_key_opens_a_session_by_sha2_signatures_only() {
    let world = World::build().await;
    let path = world.scratch("rsa");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "3072", "-N", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let line = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    world.update(UserPatch { public_keys: Some(vec![line.trim().to_owned()]), ..UserPatch::default() });
    for (algorithm, taken) in [("rsa-sha2-512", true), ("rsa-sha2-256", true), ("ssh-rsa", false)] {
        let option = format!("PubkeyAcceptedAlgorithms={algorithm}");
        let said = openssh::run(openssh::sftp_with_key_and(&world, &path, &["-o", &option]), "pwd\n").await;
        assert_eq!(said.ok, taken, "{algorithm}: {}", said.err);
    }
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_denied_alike_and_six_are_enough() {
    let world = World::build().await;
    let said = openssh::run(openssh::sftp(&world, "wrong", &[]), "pwd\n").await;
    assert!(!said.ok && said.err.contains("Permission denied"), "{}", said.err);
    let mut unknown = client::connect(&world).await;
    for _ in 0..6 {
        let answer = unknown.authenticate_password("nobody", PASSWORD).await.unwrap();
        let AuthResult::Failure { remaining_methods, .. } = answer else { panic!("nobody was let in") };
        assert!(remaining_methods.contains(&russh::MethodKind::Password));
    }
    assert!(unknown.authenticate_password("nobody", PASSWORD).await.is_err(), "the seventh is not answered");
}

#[tokio::test]
async fn the_user_name_stands_with_the_first_attempt() {
    let world = World::build().await;
    let mut client = client::connect(&world).await;
    client.authenticate_password("somebody", PASSWORD).await.unwrap();
    assert!(!matches!(client.authenticate_password(USER, PASSWORD).await, Ok(AuthResult::Success)));
    eventually("the connection is closed", || world.handle.connections() == 0).await;
    assert_eq!(world.sessions(), 0);
}

#[tokio::test]
async fn the_second_session_is_refused_with_the_reason_and_a_close_frees_the_slot_at_once() {
    let world = World::build().await;
    world.update(UserPatch { max_sessions: Some(1), ..UserPatch::default() });
    let first = client::logged_in(&world).await;
    let sftp = client::sftp(&first).await;
    let said = openssh::batch(&world, "pwd\n").await;
    assert!(!said.ok);
    assert!(said.err.contains("1 of 1 sessions") && said.err.contains("127.0.0.1"), "{}", said.err);
    assert!(!said.err.contains("Permission denied"), "{}", said.err);
    drop(sftp);
    drop(first);
    let start = Instant::now();
    openssh::batch(&world, "pwd\n").await.success();
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_node_without_a_lease_says_why_and_never_denied() {
    let world = World::build().await;
    world.cluster.lease().unwrap().kill();
    let said = openssh::batch(&world, "pwd\n").await;
    assert!(!said.ok);
    assert!(said.err.contains("no quorum") && !said.err.contains("Permission denied"), "{}", said.err);
    let said = client::refused_with(&world).await;
    assert!(said.contains("no quorum"), "{said}");
}

#[tokio::test]
async fn a_drain_refuses_new_connections_and_ends_when_the_last_has_gone() {
    let mut world = World::build().await;
    let client = client::logged_in(&world).await;
    let sftp = client::sftp(&client).await;
    world.drain.cancel();
    eventually("the port is closed", || std::net::TcpStream::connect(world.address()).is_err()).await;
    sftp.create("late.txt").await.unwrap();
    assert!(!world.running.is_finished());
    drop((sftp, client));
    tokio::time::timeout(Duration::from_secs(10), &mut world.running).await.expect("the drain ends").unwrap();
    assert_eq!(world.handle.connections(), 0);
}

#[tokio::test]
async fn a_connection_that_waits_to_be_accepted_when_a_drain_begins_is_served() {
    use tokio::io::AsyncReadExt;
    let world = World::build().await;
    // On one thread: the kernel has the connection, the accept loop has not run since.
    let waiting = std::net::TcpStream::connect(world.address()).unwrap();
    world.drain.cancel();
    waiting.set_nonblocking(true).unwrap();
    let mut waiting = tokio::net::TcpStream::from_std(waiting).unwrap();
    let mut said = [0; 8];
    let read = tokio::time::timeout(Duration::from_secs(10), waiting.read_exact(&mut said)).await;
    read.expect("it is answered").expect("and not reset");
    assert_eq!(&said, b"SSH-2.0-");
}

#[tokio::test]
async fn a_drain_lets_a_transfer_end_and_does_not_wait_for_who_transfers_nothing() {
    use tokio::io::AsyncWriteExt;
    let mut world = World::with(|config| config.limits.drain = Duration::from_secs(60)).await;
    let (idle, busy) = (client::logged_in(&world).await, client::logged_in(&world).await);
    let (_nothing, sftp) = (client::sftp(&idle).await, client::sftp(&busy).await);
    let connected = tokio::net::TcpStream::connect(world.address()).await.unwrap();
    let mut file = sftp.create("slow.bin").await.unwrap();
    file.write_all(b"before ").await.unwrap();
    eventually("three connections are open", || world.handle.connections() == 3).await;
    world.drain.cancel();
    eventually("who transfers nothing is cut", || world.handle.connections() == 1).await;
    assert!(idle.is_closed());
    // An open file is a transfer, whatever its client's pace.
    file.write_all(b"after").await.unwrap();
    file.shutdown().await.unwrap();
    assert_eq!(std::fs::read(world.home("slow.bin")).unwrap(), b"before after");
    tokio::time::timeout(Duration::from_secs(30), &mut world.running).await.expect("then it ends, too").unwrap();
    drop((connected, idle, busy));
}

#[tokio::test]
async fn a_transfer_that_does_not_end_is_cut_when_the_drains_time_is_over() {
    let mut world = World::with(|config| config.limits.drain = Duration::from_secs(1)).await;
    let client = client::logged_in(&world).await;
    let sftp = client::sftp(&client).await;
    let file = sftp.create("endless.bin").await.unwrap();
    world.drain.cancel();
    tokio::time::timeout(Duration::from_secs(30), &mut world.running).await.expect("the drain ends").unwrap();
    assert!(!world.home("endless.bin").exists(), "nothing half done is visible");
    drop(file);
}
