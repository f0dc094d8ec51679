//! Power cuts: what was not synced is gone, or torn, or there. The calls of a real process on the real store are recorded by
//! strace; then the store is opened on the disks that a power cut at each telling moment may have left.

mod enumerate;
mod recording;

use std::path::Path;
use std::process::{Command, Stdio};

use flotilla_raft::StoreChoice;

use self::recording::{CALLS, Fate, Recording};
use crate::writer::{ARGUMENTS, Dice, ENGINES, Promises, command};

/// Disks looked at per test, besides those around the moves of the log.
const DISKS: usize = 160;
/// Moments looked at before and after the mark of each move: the mark's own syncs, the removal of the former store.
const AROUND: usize = 10;
/// Moves looked at so closely.
const MOVES: usize = 4;

/// `None` where processes cannot be traced and the caller of the tests said that such tests may be left out.
fn strace() -> Option<()> {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        crate::cluster::lacks("strace is not installed or may not trace here (make test-needs)");
    }
    works.then_some(())
}

/// Seed and turns of three processes after each other.
const LIVES: [(u64, u64); 3] = [(11, 60), (12, 80), (13, 40)];

/// Processes after each other on one folder, each killed by itself.
fn record(engine: StoreChoice, dir: &Path, lives: &[(u64, u64)]) -> Recording {
    let log = dir.join("log");
    let mut recording = Recording::of(&log);
    let program = std::env::current_exe().expect("this program");
    for &(seed, turns) in lives {
        let trace = dir.join("trace");
        let mut traced = command("strace", engine, &log, seed, turns);
        traced.args(["-f", "-y", "-xx", "-s", "4000000", "-e", "signal=none", "-e"]).arg(format!("trace={CALLS}"));
        traced.arg("-o").arg(&trace).arg(&program).args(ARGUMENTS);
        let status = traced.stdout(Stdio::piped()).stderr(Stdio::null()).output().expect("strace").status;
        assert!(!status.success(), "the writer ends by a kill");
        recording.add(&std::fs::read_to_string(&trace).expect("the trace"));
    }
    recording
}

/// Why the store that a power cut leaves does not hold what was promised.
async fn check(
    engine: StoreChoice,
    recording: &Recording,
    line: usize,
    fate: Fate,
    ignoring_fdatasync: bool,
) -> Result<(), String> {
    let place = tempfile::tempdir().expect("a temporary folder");
    let log = place.path().join("log");
    std::fs::create_dir(&log).expect("the folder");
    let root = recording.root().to_owned();
    for (path, content) in recording.disk(line, fate, ignoring_fdatasync) {
        let path = log.join(path.strip_prefix(&root).expect("a path within the folder").trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the folder");
        std::fs::write(path, content).expect("the file");
    }
    let mut promises = Promises::of(engine);
    recording.said(line).for_each(|said| promises.hear(said));
    promises.check(&log).await.map_err(|why| format!("power cut at line {line}, {fate:?}: {why}"))
}

/// Moments spread over the whole recording, and all around some moves of the log.
fn moments(engine: StoreChoice, recording: &Recording) -> Vec<usize> {
    let all = recording.moments();
    assert!(all.len() > 200, "only {} moments were recorded", all.len());
    let moves = recording.moves();
    let moved = engine == StoreChoice::Redb || !moves.is_empty();
    assert!(moved, "the log never moved: no power cut within a move is looked at");
    let step = (all.len() / DISKS).max(1);
    let mut chosen: Vec<usize> = all.iter().copied().step_by(step).collect();
    for marked in moves.iter().step_by(moves.len().div_ceil(MOVES).max(1)) {
        let at = all.partition_point(|line| line < marked);
        chosen.extend(&all[at.saturating_sub(AROUND)..all.len().min(at + AROUND)]);
    }
    println!("{} moments of {}, {} moves", chosen.len(), all.len(), moves.len());
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

async fn cut_at_many_moments(engine: StoreChoice) {
    let Some(()) = strace() else { return };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let recording = record(engine, dir.path(), &LIVES);
    let mut dice = Dice::new(7);
    let (mut failures, mut looked) = (Vec::new(), 0);
    for (number, line) in moments(engine, &recording).into_iter().enumerate() {
        let fate = if number % 3 == 0 { Fate::Lost } else { Fate::Chance(dice.below(1 << 30)) };
        looked += 1;
        failures.extend(check(engine, &recording, line, fate, false).await.err());
    }
    assert!(
        failures.is_empty(),
        "{} of {looked} disks, for instance: {:#?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_moment_leaves_all_that_was_acknowledged() {
    cut_at_many_moments(StoreChoice::Sled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_moment_leaves_all_that_redb_acknowledged() {
    cut_at_many_moments(StoreChoice::Redb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_fdatasync_a_power_cut_loses_acknowledged_entries() {
    let Some(()) = strace() else { return };
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recording = record(engine, dir.path(), &LIVES);
        let mut lost = None;
        for line in moments(engine, &recording).into_iter().rev() {
            lost = check(engine, &recording, line, Fate::Lost, true).await.err();
            if lost.is_some() {
                break;
            }
        }
        let why = lost.unwrap_or_else(|| panic!("{engine:?} syncs twice, or this test cannot see a loss"));
        println!("{engine:?}, as expected: {why}");
    }
}
