//! Figures of the replicated core alone: three nodes in this process, real TLS and real disks, no SFTP above.
//!
//! Prints rates with p50 and p99 of read barriers and of commands, at the leader and at a follower. Bounded, ends by itself.

#[path = "../tests/it/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod cluster;
#[path = "../tests/it/links.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod links;

use std::time::{Duration, Instant};

use cluster::{LONG, Testbed, leader, put_token, request};
use flotilla_cluster::Cluster;
use flotilla_raft::Handle;

const EACH: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Work {
    Barrier,
    Command,
}

#[tokio::main]
async fn main() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    let first = leader(&nodes).await;
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
