//! P2 by hand: what is stored never passes the quota, and exactly as many uploads succeed as fit.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use flotilla_jepsen::workload::sampler::Account;
use futures::future::join_all;

const MIB: u64 = 1 << 20;
const RUNS: usize = 20;

/// Uploads files of `sizes` at once, the n-th through node `nodes[n]`, each over a connection of its own.
async fn race(lab: &Lab, user: &str, sizes: &[u64], nodes: &[usize]) -> Vec<Upload> {
    let uploads = sizes.iter().zip(nodes).enumerate().map(|(n, (size, node))| async move {
        let sftp = match Sftp::login(lab.sftp_port(*node), user).await {
            Ok(Ok(sftp)) => sftp,
            other => panic!("login: {:?}", other.map(|login| login.err())),
        };
        let outcome = sftp.upload(&format!("/f{n}"), *size, 32 * 1024).await;
        sftp.leave().await;
        outcome
    });
    join_all(uploads).await
}

/// The staging folders of all accounts.
fn staging(lab: &Lab) -> BTreeSet<OsString> {
    let accounts = std::fs::read_dir(lab.files().join(".flotilla")).unwrap();
    accounts.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name()).collect()
}

/// Looks at the files of a user, published and staged, again and again: the most bytes and files that lay there at one instant.
struct Watch {
    over: Arc<AtomicBool>,
    most: tokio::task::JoinHandle<Seen>,
}

/// The most that lay there, how often somebody looked, and the two walks that saw the most bytes.
#[derive(Default)]
struct Seen {
    bytes: u64,
    files: u64,
    samples: u64,
    walks: String,
}

impl Watch {
    /// Before the user's first upload, whose account is the next that gets a folder.
    fn begin(lab: &Lab, user: &str) -> Watch {
        let (files, root, before) = (lab.files(), lab.files().join(user), staging(lab));
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let most = tokio::task::spawn_blocking(move || {
            let mut seen = Seen::default();
            while !stop.load(Ordering::Acquire) {
                let found = std::fs::read_dir(files.join(".flotilla")).unwrap().map(|entry| entry.unwrap());
                let new = found.filter(|entry| entry.path().is_dir() && !before.contains(&entry.file_name()));
                for folder in new {
                    let account = Account { root: root.clone(), staging: folder.path() };
                    let walks = [account.walk(), account.walk()];
                    let sample = Account::both(&walks[0], &walks[1], 0);
                    if sample.bytes > seen.bytes {
                        seen.walks = format!("{walks:?}");
                    }
                    seen.bytes = seen.bytes.max(sample.bytes);
                    seen.files = seen.files.max(sample.files);
                    seen.samples += 1;
                }
            }
            seen
        });
        Watch { over, most }
    }

    async fn end(self) -> Seen {
        self.over.store(true, Ordering::Release);
        self.most.await.unwrap()
    }
}

/// One run: the right number succeeds, the rest are refused by a status, what is stored is exactly what was told OK.
/// Returns how often somebody looked at what lay there meanwhile.
async fn check(lab: &Lab, user: &str, sizes: &[u64], nodes: &[usize], expected: usize, limit: (u64, u64)) -> u64 {
    let watch = Watch::begin(lab, user);
    let outcomes = race(lab, user, sizes, nodes).await;
    let most = watch.end().await;
    let stored: Vec<usize> = (0..sizes.len()).filter(|n| matches!(outcomes[*n], Upload::Stored)).collect();
    let (bytes, files) = lab.stored(user).unwrap();
    let context = || format!("{user}: {outcomes:?}, stored {bytes} bytes in {files} files\n{}", lab.log_tails());
    assert!(!outcomes.iter().any(|outcome| matches!(outcome, Upload::Lost(_))), "{}", context());
    assert!((limit.0 == 0 || bytes <= limit.0) && (limit.1 == 0 || files <= limit.1), "over quota: {}", context());
    assert_eq!(stored.len(), expected, "{}", context());
    let within = (limit.0 == 0 || most.bytes <= limit.0) && (limit.1 == 0 || most.files <= limit.1);
    let lay = || format!("{} bytes or {} files lay there at one instant: {}", most.bytes, most.files, most.walks);
    assert!(within, "{} {}", lay(), context());
    for n in &stored {
        let length = std::fs::metadata(lab.files().join(user).join(format!("f{n}"))).map(|meta| meta.len());
        assert_eq!(length.ok(), Some(sizes[*n]), "told OK but not whole: f{n} {}", context());
    }
    assert_eq!(files as usize, stored.len(), "a refused upload left a file: {}", context());
    most.samples
}

async fn twenty(name: &str, sizes: &[u64], nodes: &[usize], expected: usize, limit: (u64, u64)) {
    let lab = Lab::start(3).await.unwrap();
    let mut looks = 0;
    for run in 0..RUNS {
        let user = format!("{name}{run}");
        lab.user(&user, 0, limit.0, limit.1).await.unwrap();
        looks += check(&lab, &user, sizes, nodes, expected, limit).await;
    }
    assert!(looks > 0, "nobody ever looked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_do_not_fit_together_exactly_one_succeeds() {
    let lab = Lab::start(3).await.unwrap();
    let mut looks = 0;
    for run in 0..RUNS {
        for (name, size, nodes) in
            [("six", 6, [1, 2]), ("nine", 9, [2, 3]), ("samenode", 6, [1, 1]), ("sameninenode", 9, [3, 3])]
        {
            let user = format!("{name}{run}");
            lab.user(&user, 0, 10 * MIB, 0).await.unwrap();
            looks += check(&lab, &user, &[size * MIB, size * MIB], &nodes, 1, (10 * MIB, 0)).await;
        }
    }
    assert!(looks > 0, "nobody ever looked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_24_uploads_of_one_mebibyte_exactly_ten_fit() {
    let nodes: Vec<usize> = (0..24).map(|n| n % 3 + 1).collect();
    twenty("many", &[MIB; 24], &nodes, 10, (10 * MIB, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_files_that_do_not_fit_together_exactly_one_succeeds() {
    let lab = Lab::start(3).await.unwrap();
    // Two small files are over soon: some runs are not looked at.
    let mut looks = 0;
    for run in 0..RUNS {
        for (name, nodes) in [("twonodes", [1, 2]), ("others", [3, 1]), ("onenode", [2, 2])] {
            let user = format!("{name}{run}");
            lab.user(&user, 0, 0, 1).await.unwrap();
            looks += check(&lab, &user, &[1000, 1000], &nodes, 1, (0, 1)).await;
        }
    }
    assert!(looks > 0, "nobody ever looked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_24_files_exactly_ten_fit_over_three_nodes_and_on_one() {
    let lab = Lab::start(3).await.unwrap();
    let spread: Vec<usize> = (0..24).map(|n| n % 3 + 1).collect();
    let mut looks = 0;
    for run in 0..RUNS {
        let single = vec![run % 3 + 1; 24];
        // One node needs fewer runs to show it.
        for (name, nodes) in [("spread", &spread), ("single", &single)].into_iter().take(if run < 6 { 2 } else { 1 }) {
            let user = format!("{name}{run}");
            lab.user(&user, 0, 0, 10).await.unwrap();
            looks += check(&lab, &user, &[1000; 24], nodes, 10, (0, 10)).await;
        }
    }
    assert!(looks > 0, "nobody ever looked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_commands_do_not_depend_on_the_number_of_writes() {
    let lab = Lab::start(3).await.unwrap();
    let mut commands = Vec::new();
    for (user, chunk) in [("small", 32 * 1024), ("large", 256 * 1024 - 4096)] {
        lab.user(user, 0, 4096 * MIB, 0).await.unwrap();
        let before = quota_commands(&lab).await;
        let sftp = Sftp::login(lab.sftp_port(2), user).await.unwrap().expect("login");
        let outcome = sftp.upload("/big", 1024 * MIB, chunk).await;
        assert!(matches!(outcome, Upload::Stored), "{outcome:?}\n{}", lab.log_tails());
        sftp.leave().await;
        lab.sessions_left(0).await.unwrap();
        commands.push(quota_commands(&lab).await - before);
        std::fs::remove_file(lab.files().join(user).join("big")).unwrap();
    }
    eprintln!("quota commands of a 1 GiB upload: {} at 32 KiB, {} at 252 KiB", commands[0], commands[1]);
    assert!(commands.iter().all(|count| *count > 0.0 && *count <= 40.0), "{commands:?}");
    // 32,768 writes and 4,162: what differs is how much room was asked for ahead.
    assert!((commands[0] - commands[1]).abs() <= 10.0, "{commands:?}");
}

/// Quota commands proposed by all nodes so far.
async fn quota_commands(lab: &Lab) -> f64 {
    let mut sum = 0.0;
    for node in 1..=3 {
        sum += lab.rest(node).unwrap().metric("flotilla_quota_commands_total", "").await.unwrap();
    }
    sum
}
