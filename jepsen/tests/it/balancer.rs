//! Three nodes behind a real HAProxy with the shipped configuration, and real OpenSSH clients.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flotilla_jepsen::balancer::{Balancer, Held, node_config};
use flotilla_jepsen::client::pattern;
use flotilla_jepsen::lab::Lab;
use rustix::process::Signal;

use crate::life_restart::{Client, Seen};

const CLIENT: &str = "127.0.0.7";
const SOON: Duration = Duration::from_secs(60);

async fn behind_a_balancer() -> (Lab, Balancer) {
    let lab = Lab::start_configured(3, node_config).await.unwrap();
    let balancer = Balancer::start(&lab).await.unwrap();
    (lab, balancer)
}

async fn login(lab: &Lab, balancer: &Balancer) -> anyhow::Result<Held> {
    Held::login(CLIENT, balancer.port(), "demo", &lab.folder().join("demo.key")).await
}

/// Sessions by node, and the addresses they are shown with, as a node that is alive says.
async fn sessions(lab: &Lab, through: usize) -> (BTreeMap<String, usize>, Vec<String>) {
    let (status, rows) = lab.rest(through).unwrap().get("/api/v2/connections").await.unwrap();
    assert_eq!(status, 200, "{rows}");
    let mut by_node = BTreeMap::new();
    let mut remotes = Vec::new();
    for row in rows.as_array().unwrap() {
        *by_node.entry(row["node"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        remotes.push(row["remote_address"].as_str().unwrap().to_owned());
    }
    (by_node, remotes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_balanced_and_show_the_clients_own_address_and_nobody_can_forge_it() {
    let (lab, balancer) = behind_a_balancer().await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(login(&lab, &balancer).await.unwrap());
    }
    let (by_node, remotes) = sessions(&lab, 1).await;
    assert_eq!(by_node.values().copied().collect::<Vec<_>>(), [2, 2, 2], "leastconn spreads them: {by_node:?}");
    assert!(remotes.iter().all(|remote| remote.starts_with(CLIENT)), "{remotes:?}");
    for session in held {
        assert!(session.leave().await.unwrap());
    }

    // A forged header, straight to a node, from an address that is no balancer's.
    let forged = b"PROXY TCP4 203.0.113.9 127.0.0.1 1234 22\r\nSSH-2.0-forger\r\n";
    let answer = talk("127.0.0.9", balancer.proxied_port(1), forged);
    assert_eq!(String::from_utf8_lossy(&answer), "", "closed without a word");
    // From the balancer's address without a header: not served either.
    let answer = talk("127.0.0.1", balancer.proxied_port(1), b"SSH-2.0-headless\r\n");
    assert_eq!(String::from_utf8_lossy(&answer), "", "the header is mandatory");
    // The plain listener does not believe a header from anybody.
    let answer = talk("127.0.0.1", lab.sftp_port(1), forged);
    assert!(!String::from_utf8_lossy(&answer).contains("203.0.113.9"));
    // A client has left before its node has: the close of the session is on its way.
    lab.until(Duration::from_secs(20), "no session is left", async || Ok(sessions(&lab, 1).await.0.is_empty()))
        .await
        .unwrap();
}

/// Sends bytes from an address and reads until the other side closes, for at most 20 s.
fn talk(from: &str, port: u16, bytes: &[u8]) -> Vec<u8> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let mut stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_and_killed_nodes_leave_the_pool_and_logins_go_on() {
    let (mut lab, balancer) = behind_a_balancer().await;
    let gone = async |lab: &Lab, node: usize, signal: Signal| {
        lab.signal(node, signal).unwrap();
        lab.until(Duration::from_secs(30), "the node has left the pool", async || Ok(!balancer.is_up(node).await?))
            .await
            .unwrap();
    };
    for (node, signal) in [(2, Signal::TERM), (3, Signal::KILL)] {
        gone(&lab, node, signal).await;
        for _ in 0..4 {
            let session = login(&lab, &balancer).await;
            let session = session.unwrap_or_else(|error| panic!("{error:#}\n{}", lab.log_tails()));
            let (by_node, _) = sessions(&lab, 1).await;
            assert!(session.leave().await.unwrap());
            let own = by_node.keys().filter(|other| **other == node.to_string()).count();
            assert_eq!(own, 0, "a node that is gone got a session: {by_node:?}");
        }
        lab.restart(node).await.unwrap();
        lab.until(Duration::from_secs(60), "the node is back in the pool", async || balancer.is_up(node).await)
            .await
            .unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(login(&lab, &balancer).await.unwrap());
    }
    let (by_node, _) = sessions(&lab, 1).await;
    assert_eq!(by_node.len(), 3, "all three serve again: {by_node:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_balancer_frees_its_sessions_and_serves_again_when_restarted() {
    let (lab, mut balancer) = behind_a_balancer().await;
    let (_, mut demo) = lab.rest(1).unwrap().get("/api/v2/users/demo").await.unwrap();
    demo["max_sessions"] = 1.into();
    let (status, answer) = lab.rest(1).unwrap().put("/api/v2/users/demo", &demo).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let mut held = login(&lab, &balancer).await.unwrap();
    balancer.kill().await.unwrap();
    // OpenSSH's sftp looks at its connection only when a command needs it.
    held.answers().await.unwrap_err();
    assert!(!held.leave().await.unwrap(), "the client notices");
    balancer.restart().unwrap();
    lab.until(Duration::from_secs(30), "three nodes are up", async || {
        let up = balancer.states().await.unwrap_or_default();
        Ok(up.iter().filter(|(_, state)| state.starts_with("UP")).count() == 3)
    })
    .await
    .unwrap();
    // The one slot was freed when the balancer's sockets closed; a login that still met it would have waited for it.
    let again = login(&lab, &balancer).await.unwrap_or_else(|error| panic!("{error:#}\n{}", lab.log_tails()));
    let (by_node, remotes) = sessions(&lab, 1).await;
    assert_eq!(by_node.values().sum::<usize>(), 1, "{by_node:?} {remotes:?}");
    assert!(again.leave().await.unwrap());
}

const CLIENTS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_behind_the_balancer_fails_no_upload_of_fifty_clients_and_refuses_no_login() {
    let (mut lab, balancer) = behind_a_balancer().await;
    let source = lab.folder().join("source.bin");
    let content = pattern(0, 200_000);
    std::fs::write(&source, &content).unwrap();
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (key, source, seen) = (lab.folder().join("demo.key"), source.clone(), Arc::clone(&seen));
            let ports = vec![balancer.port()];
            tokio::spawn(Client { number, ports, user: "demo", key, source, seen }.run(Arc::clone(&stop)))
        })
        .collect();
    let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
    for node in 1..=3 {
        let before = count(&seen.uploads);
        lab.until(SOON, "uploads go on", async || Ok(count(&seen.uploads) >= before + CLIENTS as u64)).await.unwrap();
        lab.stop(node).await.unwrap();
        lab.restart(node).await.unwrap();
        lab.until(SOON, "the node is back in the pool", async || balancer.is_up(node).await).await.unwrap();
    }
    stop.store(true, Ordering::Release);
    let (mut stored, mut failed) = (0, 0);
    for client in clients {
        for name in client.await.unwrap() {
            stored += 1;
            let there = std::fs::read(lab.files().join("demo").join(&name)).is_ok_and(|found| found == content);
            failed += u64::from(!there);
        }
    }
    let going = seen.going.lock().unwrap();
    eprintln!(
        "rolling restart of three nodes behind HAProxy, {CLIENTS} clients: {stored} uploads stored, {failed} failed, {} attempts \
         retried, {} of them before there was a session; {going:?}",
        count(&seen.retried),
        count(&seen.without_session),
    );
    let unexplained = seen.unexplained.lock().unwrap();
    assert!(unexplained.is_empty(), "no restart explains {unexplained:#?}");
    assert_eq!(failed, 0, "an upload that was acknowledged is not there");
    let logins = (count(&seen.denied), count(&seen.refused), count(&seen.without_session));
    assert_eq!(logins, (0, 0, 0), "denied, met a closed port, ended before there was a session: {going:?}");
}
