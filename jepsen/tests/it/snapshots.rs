//! Nodes that were away for so long that the log they missed is gone.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use flotilla_jepsen::admin::{Admin, Ask};
use flotilla_jepsen::client::{NoLogin, Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use futures::stream::{self, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A node that misses a few dozen entries gets a snapshot instead of them.
const PURGES: &str = "[raft]\nsnapshot_entries = 10\nkeep_entries = 1\n";
const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_while_the_log_was_purged_catches_up_by_snapshot() {
    let mut lab = Lab::plan(3).configure_all(PURGES).start().await.unwrap();
    let leader = lab.leader().await.unwrap();
    let victim = leader % 3 + 1;
    lab.user("before", 0, 0, 0).await.unwrap();
    lab.kill(victim).unwrap();
    lab.commits(leader, "missed", 150).await.unwrap();
    lab.user("after", 0, 0, 0).await.unwrap();
    disable(&lab, leader, "before").await;
    lab.restart(victim).await.unwrap();
    lab.until_ready(Duration::from_secs(30)).await.unwrap();
    assert!(lab.log(victim).contains("snapshot_installed"), "it had the entries:\n{}", lab.log(victim));
    let names = async |node: usize| {
        let (status, list) = lab.rest(node).unwrap().get("/api/v2/users?limit=500&consistency=stale").await.unwrap();
        assert_eq!(status, 200, "{list}");
        list.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (own, others) = (names(victim).await, names(leader).await);
    assert!(own.len() > 150 && own == others, "{} users there, {} users here", others.len(), own.len());
    let login = Sftp::login(lab.sftp_port(victim), "after").await.unwrap().expect("login");
    assert!(matches!(login.upload("/f", MIB, 32768).await, Upload::Stored));
    assert!(matches!(Sftp::login(lab.sftp_port(victim), "before").await.unwrap(), Err(NoLogin::Denied)));
}

/// Disables a user; the log index at which it was done.
async fn disable(lab: &Lab, through: usize, user: &str) -> u64 {
    let address = SocketAddr::from(([127, 0, 0, 1], lab.admin_port(through)));
    let path = format!("/api/v2/users/{user}");
    let body = json!({"status": 0, "permissions": {"/": ["*"]}});
    let ask = Ask { method: "PUT", path: &path, body: Some(&body), ..Ask::default() };
    let answer = Admin::new(address, &lab.admin_token().unwrap()).call(ask, SOON).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.index.expect("every change names its index")
}

/// The ways between node 3 and the other two, each through a relay, all open or all cut. Its clients reach it meanwhile.
struct Ways {
    open: watch::Sender<bool>,
}

const AWAY: usize = 3;

impl Ways {
    async fn lab() -> (Lab, Ways) {
        let (open, is_open) = watch::channel(true);
        let offset = Arc::new(OnceLock::new());
        let mut routes = Vec::new();
        for node in 1..=3u16 {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            routes.push(format!("{node} = \"{}\"\n", listener.local_addr().unwrap()));
            tokio::spawn(relay(listener, node, Arc::clone(&offset), is_open.clone()));
        }
        let config = |node: u16, own: u16| {
            offset.get_or_init(|| own);
            let to = if usize::from(node) == AWAY { routes[..2].concat() } else { routes[2].clone() };
            format!("{PURGES}[peers.routes]\n{to}")
        };
        let lab = Lab::start_configured(3, config).await.unwrap();
        if lab.leader().await.unwrap() == AWAY {
            let (ok, text) = lab.cli(1, &["cluster", "transfer", "1"]).await.unwrap();
            assert!(ok, "{text}");
        }
        (lab, Ways { open })
    }
}

/// Hands connections on to a node's peer port while the way is open.
async fn relay(listener: TcpListener, node: u16, offset: Arc<OnceLock<u16>>, open: watch::Receiver<bool>) {
    while let Ok((mut from, _)) = listener.accept().await {
        let (Some(offset), true) = (offset.get(), *open.borrow()) else { continue };
        let to = SocketAddr::from(([127, 0, 0, 1], 7982 + offset + 100 * node));
        let mut open = open.clone();
        tokio::spawn(async move {
            let Ok(mut to) = TcpStream::connect(to).await else { return };
            let _ = (from.set_nodelay(true), to.set_nodelay(true));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}

/// Users with 8 KB of text each: entries that are purged, and a snapshot of several chunks.
async fn large_users(lab: &Lab, prefix: &str, count: usize) {
    let rest = lab.rest(1).unwrap();
    let text = "x".repeat(4_000);
    let made = (0..count).map(|n| {
        let body = json!({"username": format!("{prefix}{n}"), "status": 1, "permissions": {"/": ["*"]},
            "description": text, "additional_info": text});
        let rest = rest.clone();
        async move { rest.post("/api/v2/users", &body).await.unwrap() }
    });
    let answers: Vec<_> = stream::iter(made).buffer_unordered(16).collect().await;
    assert!(
        answers.iter().all(|(status, _)| *status == 201),
        "{:?}",
        answers.iter().find(|(status, _)| *status != 201)
    );
}

/// One absence; whether the node kept its lease meanwhile, which a machine that does much else may not allow.
async fn away(lab: &Lab, ways: &Ways, round: usize) -> bool {
    let [disabled, stays, lender] = ["disabled", "stays", "lender"].map(|name| format!("{name}{round}"));
    lab.user(&disabled, 0, 0, 0).await.unwrap();
    lab.user(&stays, 0, 0, 0).await.unwrap();
    lab.user(&lender, 0, 10 * MIB, 0).await.unwrap();
    let there = async |user: &str| Sftp::login(lab.sftp_port(AWAY), user).await.unwrap().expect("login");
    let (cut, other, lends) = (there(&disabled).await, there(&stays).await, there(&lender).await);
    // Leaves granted room behind, which the node settles at its leisure.
    assert!(matches!(lends.upload("/own", MIB, 32768).await, Upload::Stored));
    let borrows = Sftp::login(lab.sftp_port(1), &lender).await.unwrap().expect("login");
    let before = lab.log(AWAY).len();

    ways.open.send_replace(false);
    let gone = Instant::now();
    let needs_all = tokio::spawn(async move { borrows.upload("/all", 9 * MIB, 32768).await });
    let prefix = format!("large{round}n");
    let (index, ()) = tokio::join!(disable(lab, 1, &disabled), large_users(lab, &prefix, 300));
    // It has heard nothing: not of the cut, not of the recall for which the upload waits.
    let unaware = cut.raw.stat("/").await.is_ok() && other.raw.stat("/").await.is_ok();
    let waits = !needs_all.is_finished();
    let (_, view) = lab.rest(AWAY).unwrap().get("/api/v2/cluster").await.unwrap();
    let knew = view["applied_index"].as_u64().unwrap();
    let absence = gone.elapsed();
    ways.open.send_replace(true);
    let stored = tokio::time::timeout(SOON, needs_all).await.expect("the upload ends").unwrap();
    let reset = cut.valve.reset(SOON).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
    let log = lab.log(AWAY).split_off(before);
    if log.contains("lease_lost") || !unaware {
        eprintln!("round {round}: away for {absence:?}, the lease ran out");
        return false;
    }
    assert!(knew < index, "it had applied {knew} before it came back, the user was disabled at {index}");
    let of = |event: &str| -> Vec<serde_json::Value> {
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["event"] == event).collect()
    };
    let installed = of("snapshot_installed");
    let by_snapshot = installed.iter().any(|line| line["index"].as_u64().is_some_and(|at| at >= index));
    assert!(by_snapshot, "the cut did not come by snapshot: {installed:?}\n{log}");
    let received = of("snapshot_received");
    assert!(received.iter().any(|line| line["chunks"].as_u64() > Some(1)), "in one piece: {received:?}");
    assert!(reset, "the session of the disabled user ended in order");
    assert!(waits && matches!(stored, Upload::Stored), "no recall: waited {waits}, {stored:?}\n{}", lab.log_tails());
    other.raw.stat("/").await.expect("the lease was kept, and with it every other session");
    lends.raw.stat("/").await.expect("the lender's session too");
    assert_eq!(lab.stored(&lender).unwrap(), (10 * MIB, 2));
    eprintln!("round {round}: away for {absence:?}, back with {received:?}");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_and_a_recall_that_a_node_with_a_lease_learns_only_by_snapshot_take_effect() {
    let (lab, ways) = Ways::lab().await;
    // The first users make the state large.
    large_users(&lab, "first", 200).await;
    for round in 0..5 {
        if away(&lab, &ways, round).await {
            return;
        }
    }
    panic!("the node lost its lease each time\n{}", lab.log_tails());
}
