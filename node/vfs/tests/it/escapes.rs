//! An attacker who exchanges a folder with a link that leaves the root, as fast as the kernel does it, while every operation goes through
//! that name: nothing outside is read or changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_vfs::{Durability, Root, SetStat};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixtures::*;

const NONE: Durability = Durability::None;
const SECRET: &[u8] = b"secret outside";
const INSIDE: &[u8] = b"inside";

#[derive(Default, Debug)]
struct Tally {
    done: u64,
    refused: u64,
    escapes: u64,
}

impl Tally {
    fn note<T, E>(&mut self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.done += 1,
            Err(_) => self.refused += 1,
        }
    }

    fn note_read(&mut self, result: &Result<Vec<u8>, flotilla_vfs::VfsError>) {
        self.note(result);
        self.escapes += u64::from(result.as_deref().is_ok_and(|data| data == SECRET));
    }
}

/// Every operation once through `d/`, with names that also exist outside.
async fn try_everything(root: &dyn Root, round: u64, tally: &mut Tally) {
    tally.note_read(&get(root, "d/f").await);
    tally.note_read(&get(root, "through").await);
    let stat = root.stat(b"d/f", true, &free()).await;
    tally.escapes += u64::from(stat.as_ref().is_ok_and(|stat| stat.size == SECRET.len() as u64));
    tally.note(&stat);
    let names = list(root, "d").await;
    tally.escapes += u64::from(names.as_ref().is_ok_and(|names| names.iter().any(|name| name == "only-outside")));
    tally.note(&names);
    tally.note(&root.real_path(b"d/f", &free()).await);
    let wanted = SetStat { mode: Some(0o640), times: Some((1, 1)), ..SetStat::default() };
    tally.note(&root.set_stat(b"d/f", wanted, &free()).await);
    tally.note(&root.set_stat(b"d", SetStat { mode: Some(0o711), ..SetStat::default() }, &free()).await);
    let fresh = format!("d/new-{round}");
    tally.note(&root.make_dir(fresh.as_bytes(), 0o755, NONE, &free()).await);
    tally.note(&root.remove_dir(fresh.as_bytes(), NONE, &free()).await);
    tally.note(&root.symlink(fresh.as_bytes(), b"x", NONE, &free()).await);
    tally.note(&root.read_link(fresh.as_bytes(), &free()).await);
    tally.note(&root.rename(fresh.as_bytes(), b"d/moved", NONE, &free()).await);
    tally.note(&root.rename_over(b"d/moved", b"d/moved-2", EPOCH, NONE, &free()).await.map(drop));
    tally.note(&root.hard_link(b"d/f", b"d/link", NONE, &free()).await);
    for name in ["d/link", "d/moved-2", "d/moved"] {
        tally.note(&root.remove(name.as_bytes(), EPOCH, NONE, &free()).await.map(drop));
    }
    if let Ok(file) = open(root, "d/f", WRITE).await {
        tally.note(&file.write(0, Bytes::from_static(INSIDE), &free()).await);
    }
    tally.note(&open(root, "d/only-outside", WRITE).await.map(drop));
    tally.note(&open(root, "d/lock", EXCLUSIVE).await.map(drop));
    tally.note(&root.remove(b"d/lock", EPOCH, NONE, &free()).await.map(drop));
    let staged = stage(root, "d/upload", INSIDE).await;
    tally.note(&staged);
    if let Ok(staged) = staged {
        tally.note(&staged.publish(NONE, &free()).await.map(drop));
        let _ = staged.discard().await;
    }
}

/// Where the attacker wants to get to, and the root it starts from.
struct Attack {
    fixture: Fixture,
    root: Arc<dyn Root>,
    /// The root's folder.
    inside: PathBuf,
    outside: PathBuf,
    link: PathBuf,
}

impl Attack {
    async fn out_of_the_root(is_absolute: bool) -> Self {
        let fixture = Fixture::new().await;
        let (inside, outside) = (fixture.inside(""), fixture.folder.path().join("outside"));
        let link = if is_absolute { outside.clone() } else { "../outside".into() };
        Self { root: fixture.root.clone(), fixture, inside, outside, link }
    }

    /// A root that is the storage's own folder; what the attacker wants lies in `.flotilla`.
    async fn into_our_folder() -> Self {
        let fixture = Fixture::new().await;
        let inside = fixture.folder.path().to_owned();
        let root = fixture.storage.open_root("", ACCOUNT).await.unwrap();
        Self { root, fixture, outside: inside.join(".flotilla/outside"), inside, link: ".flotilla/outside".into() }
    }
}

async fn attacked(attack: Attack) {
    let Attack { fixture: _fixture, root, inside, outside, link } = attack;
    std::fs::create_dir(&outside).unwrap();
    for name in ["f", "only-outside"] {
        std::fs::write(outside.join(name), SECRET).unwrap();
    }
    let metadata = |name: &str| std::fs::metadata(outside.join(name)).unwrap();
    let (folder_before, file_before) = (metadata(""), metadata("f"));
    std::fs::create_dir(inside.join("d")).unwrap();
    std::fs::write(inside.join("d/f"), INSIDE).unwrap();
    std::os::unix::fs::symlink(link, inside.join("evil")).unwrap();
    std::os::unix::fs::symlink("d/f", inside.join("through")).unwrap();

    let is_over = Arc::new(AtomicBool::new(false));
    let (d, evil, stop) = (inside.join("d"), inside.join("evil"), is_over.clone());
    let attacker = std::thread::spawn(move || {
        let mut exchanges = 0u64;
        while !stop.load(Ordering::Relaxed) {
            renameat_with(CWD, &d, CWD, &evil, RenameFlags::EXCHANGE).unwrap();
            exchanges += 1;
        }
        exchanges
    });
    let (begun, mut tally, mut round) = (Instant::now(), Tally::default(), 0);
    // On a busy machine a round takes long: until both outcomes were seen often enough.
    let is_short = |tally: &Tally| tally.done <= 100 || tally.refused <= 100;
    while begun.elapsed() < Duration::from_secs(2) || (is_short(&tally) && begun.elapsed() < Duration::from_secs(60)) {
        try_everything(&*root, round, &mut tally).await;
        round += 1;
    }
    is_over.store(true, Ordering::Relaxed);
    let exchanges = attacker.join().unwrap();
    println!("{tally:?} under {exchanges} exchanges");

    assert_eq!(tally.escapes, 0);
    assert!(tally.done > 100 && tally.refused > 100 && exchanges > 1000, "the race was no race: {tally:?}");
    assert_eq!(names_in(&outside), ["f", "only-outside"]);
    for name in ["f", "only-outside"] {
        assert_eq!(std::fs::read(outside.join(name)).unwrap(), SECRET);
    }
    for (name, was) in [("", folder_before), ("f", file_before)] {
        let is = metadata(name);
        assert_eq!((is.permissions(), is.modified().unwrap()), (was.permissions(), was.modified().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_relative_link_opens_nothing_outside() {
    attacked(Attack::out_of_the_root(false).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_absolute_link_opens_nothing_outside() {
    attacked(Attack::out_of_the_root(true).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_link_opens_nothing_in_our_own_folder() {
    attacked(Attack::into_our_folder().await).await;
}
