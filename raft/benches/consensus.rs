//! Figures of the replicated core alone: three nodes in this process, real TLS and real disks, no SFTP above.
//!
//! Prints rates with p50 and p99 of read barriers and of commands, at the leader and at a follower. Bounded, ends by itself.
//! `-- stall SECONDS HEARTBEAT_MS` instead keeps a light load for so long and prints what leases and leadership made of it:
//! run it beside whatever loads the machine.

#[path = "../tests/it/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod cluster;
#[path = "../tests/it/links.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod links;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::{LONG, Running, Testbed, leader, put_token, request};
use flotilla_cluster::Cluster;
use flotilla_raft::{Config, Handle};

const EACH: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Work {
    Barrier,
    Command,
}

static HEARTBEAT_MS: AtomicU64 = AtomicU64::new(0);

fn tune(config: &mut Config) {
    let heartbeat = HEARTBEAT_MS.load(Ordering::Relaxed);
    if heartbeat > 0 {
        config.timing.heartbeat = Duration::from_millis(heartbeat);
        config.timing.election_min = Duration::from_millis(heartbeat * 4);
        config.timing.election_max = Duration::from_millis(heartbeat * 6);
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let stall = arguments.iter().position(|argument| argument == "stall");
    let heartbeat = stall.and_then(|at| arguments.get(at + 2)?.parse().ok());
    HEARTBEAT_MS.store(heartbeat.unwrap_or(0), Ordering::Relaxed);
    let bed = Testbed::tuned(3, tune);
    let nodes = bed.start_all().await;
    match stall {
        None => rates(&nodes).await,
        Some(at) => {
            tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).init();
            let seconds = arguments.get(at + 1).and_then(|text| text.parse().ok()).expect("stall SECONDS");
            stalls(&nodes, Duration::from_secs(seconds)).await;
        }
    }
}

async fn rates(nodes: &[Running]) {
    let first = leader(nodes).await;
    let (leader, follower) = (&nodes[first].handle, &nodes[(first + 1) % 3].handle);
    for (name, work) in [("barrier", Work::Barrier), ("command", Work::Command)] {
        for (place, handle) in [("leader", leader), ("follower", follower)] {
            for clients in [1, 16, 256] {
                let figures = run(handle, work, clients).await;
                println!("{name:8} at the {place:8} {clients:4} clients: {figures}");
            }
        }
    }
}

/// One command after the other through each node; the longest waits, the terms and the leases that were lost.
async fn stalls(nodes: &[Running], time: Duration) {
    leader(nodes).await;
    let leases: Vec<_> = nodes.iter().map(|node| node.handle.lease().expect("a lease")).collect();
    let term = nodes[0].handle.status().term;
    let until = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for node in nodes {
        let handle = node.handle.clone();
        tasks.spawn(async move {
            let (mut count, mut longest, mut slow) = (0, Duration::ZERO, 0);
            while Instant::now() < until {
                let began = Instant::now();
                once(&handle, Work::Command).await;
                count += 1;
                longest = longest.max(began.elapsed());
                slow += u32::from(began.elapsed() > Duration::from_secs(1));
            }
            (handle.node(), count, longest, slow)
        });
    }
    for (node, count, longest, slow) in tasks.join_all().await {
        println!("node {node}: {count} commands, the longest took {} ms, {slow} more than 1 s", longest.as_millis());
    }
    let lost = leases.iter().filter(|lease| lease.is_dead()).count();
    let terms = nodes[0].handle.status().term - term;
    println!("in {} s: {terms} elections, {lost} of {} nodes lost their lease", time.as_secs(), leases.len());
}

async fn run(handle: &Handle, work: Work, clients: usize) -> String {
    let until = Instant::now() + EACH;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let handle = handle.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                once(&handle, work).await;
                times.push(began.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 1_000).min(times.len() - 1)].as_secs_f64() * 1_000.0;
    let rate = times.len() as f64 / EACH.as_secs_f64();
    format!("{rate:7.0}/s, p50 {:6.2} ms, p99 {:6.2} ms", at(500), at(990))
}

async fn once(handle: &Handle, work: Work) {
    match work {
        Work::Barrier => drop(handle.barrier(LONG).await.expect("a read")),
        // Refused, since the name is taken, but it goes through the log all the same and the state does not grow.
        Work::Command => {
            let answer = handle.submit(request(), "bench", put_token("bench"), LONG).await.expect("an answer");
            drop(answer.reply);
        }
    }
}
