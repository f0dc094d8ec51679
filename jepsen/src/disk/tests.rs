//! What the fault disk promises, on a real mount and without one.

use rand::SeedableRng;

use super::*;

fn file(disk: &Disk, name: &str, bytes: &[u8]) -> Ino {
    let ino = disk.make(ROOT, OsStr::new(name), empty_file(), 0o100_600, (0, 0)).unwrap();
    disk.write(ino, 0, bytes).unwrap();
    ino
}

fn cut(disk: &Disk, seed: u64) -> Lost {
    disk.cut_power(&mut StdRng::seed_from_u64(seed))
}

fn found(disk: &Disk, name: &str) -> Option<Vec<u8>> {
    let ino = disk.lookup(ROOT, OsStr::new(name)).ok()?;
    Some(disk.read(ino, 0, 1 << 20).unwrap())
}

#[test]
fn what_was_synced_with_its_name_survives_every_cut() {
    for seed in 0..200 {
        let disk = Disk::new();
        let ino = file(&disk, "a", &[1; 10_000]);
        disk.sync(ino).unwrap();
        disk.sync_folder(ROOT).unwrap();
        disk.write(ino, 4096, &[2; 100]).unwrap();
        cut(&disk, seed);
        let left = found(&disk, "a").unwrap();
        assert_eq!(left.len(), 10_000);
        assert_eq!(left[..4096], [1; 4096]);
        assert!(left[4096] == 1 || left[4096] == 2);
    }
}

#[test]
fn a_full_disk_takes_nothing_new_and_nothing_longer() {
    let disk = Disk::new();
    let ino = file(&disk, "a", &[1; 100]);
    disk.be_full(true);
    assert_eq!(disk.write(ino, 50, &[2; 51]), Err(Error::Full));
    assert_eq!(disk.make(ROOT, OsStr::new("b"), empty_file(), 0o100_600, (0, 0)), Err(Error::Full));
    disk.write(ino, 50, &[2; 50]).unwrap();
    disk.be_full(false);
    disk.write(ino, 50, &[2; 51]).unwrap();
    file(&disk, "b", &[3]);
    assert_eq!(found(&disk, "a").unwrap().len(), 101);
}

#[test]
fn what_was_not_synced_is_lost_in_some_cuts_and_kept_in_others() {
    let outcomes = |prepare: &dyn Fn(&Disk)| -> BTreeSet<Option<Vec<u8>>> {
        let one = |seed| {
            let disk = Disk::new();
            prepare(&disk);
            cut(&disk, seed);
            found(&disk, "a")
        };
        (0..64).map(one).collect()
    };
    let name_not_synced = outcomes(&|disk| {
        let ino = file(disk, "a", b"x");
        disk.sync(ino).unwrap();
    });
    assert_eq!(name_not_synced, BTreeSet::from([None, Some(b"x".to_vec())]));
    let bytes_not_synced = outcomes(&|disk| {
        file(disk, "a", b"x");
        disk.sync_folder(ROOT).unwrap();
    });
    assert_eq!(bytes_not_synced, BTreeSet::from([Some(Vec::new()), Some(vec![0]), Some(b"x".to_vec())]));
}

#[test]
fn a_failed_sync_takes_for_written_what_it_has_lost() {
    let disk = Disk::new();
    let ino = file(&disk, "a", b"old");
    disk.sync(ino).unwrap();
    disk.sync_folder(ROOT).unwrap();
    disk.write(ino, 0, b"new").unwrap();
    disk.fail_syncs(1);
    assert_eq!(disk.sync(ino), Err(Error::Failed));
    assert_eq!(disk.sync(ino), Ok(()));
    assert_eq!(found(&disk, "a"), Some(b"new".to_vec()));
    cut(&disk, 1);
    assert_eq!(found(&disk, "a"), Some(b"old".to_vec()));
}

/// A rename is there or not; nothing is lost or doubled by it.
#[test]
fn names_change_in_order() {
    for seed in 0..100 {
        let disk = Disk::new();
        for (name, bytes) in [("a", b"1"), ("b", b"2")] {
            let ino = file(&disk, name, bytes);
            disk.sync(ino).unwrap();
        }
        disk.sync_folder(ROOT).unwrap();
        disk.rename((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")), false, false).unwrap();
        disk.remove(ROOT, OsStr::new("b"), false).unwrap();
        cut(&disk, seed);
        let left = (found(&disk, "a"), found(&disk, "b"));
        let possible = [(Some(b"1".to_vec()), Some(b"2".to_vec())), (None, Some(b"1".to_vec())), (None, None)];
        assert!(possible.contains(&left), "{left:?}");
    }
    let disk = Disk::new();
    file(&disk, "a", b"1");
    file(&disk, "b", b"2");
    disk.rename((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")), false, true).unwrap();
    assert_eq!((found(&disk, "a"), found(&disk, "b")), (Some(b"2".to_vec()), Some(b"1".to_vec())));
    assert_eq!(disk.rename((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")), true, false), Err(Error::Exists));
}

#[test]
fn a_file_that_nobody_names_or_holds_is_forgotten() {
    let disk = Disk::new();
    let ino = file(&disk, "a", b"1");
    disk.looked_up(ino);
    disk.remove(ROOT, OsStr::new("a"), false).unwrap();
    assert!(disk.read(ino, 0, 1).is_ok(), "held");
    disk.sync_folder(ROOT).unwrap();
    disk.forget(ino, 1);
    assert_eq!(disk.read(ino, 0, 1), Err(Error::Missing));
}

#[test]
fn names_of_a_file_are_counted_also_after_a_cut() {
    let disk = Disk::new();
    let name = OsStr::new;
    let (one, two) = (file(&disk, "one", b"1"), file(&disk, "two", b"2"));
    disk.link(one, ROOT, name("again")).unwrap();
    disk.looked_up(two);
    let links = |ino| disk.stat(ino).unwrap().links;
    assert_eq!((links(one), links(two)), (2, 1));
    disk.rename((ROOT, name("one")), (ROOT, name("again")), false, false).unwrap();
    assert_eq!(links(one), 2, "two names of one file: nothing is moved");
    disk.rename((ROOT, name("again")), (ROOT, name("two")), false, false).unwrap();
    assert_eq!((links(one), links(two)), (2, 0), "held, but nameless");
    disk.sync_folder(ROOT).unwrap();
    disk.remove(ROOT, name("one"), false).unwrap();
    assert_eq!(links(one), 1);
    let left: BTreeSet<u32> = (0..20)
        .map(|seed| {
            let disk = Disk::new();
            let ino = file(&disk, "one", b"1");
            disk.link(ino, ROOT, name("again")).unwrap();
            disk.sync_folder(ROOT).unwrap();
            disk.remove(ROOT, name("one"), false).unwrap();
            cut(&disk, seed);
            disk.stat(ino).unwrap().links
        })
        .collect();
    assert_eq!(left, BTreeSet::from([1, 2]));
}

/// Through the kernel, where the machine can mount.
#[test]
fn programs_see_an_ordinary_folder() {
    let folder = tempfile::tempdir().unwrap();
    let disk = std::sync::Arc::new(Disk::new());
    let Ok(session) = mount::mount(std::sync::Arc::clone(&disk), folder.path()) else {
        eprintln!("skipped: this machine cannot mount FUSE file systems");
        return;
    };
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(at("d/one"), vec![7; 100_000]).unwrap();
    std::fs::rename(at("d/one"), at("two")).unwrap();
    std::fs::File::open(at("two")).unwrap().sync_all().unwrap();
    std::fs::File::open(folder.path()).unwrap().sync_all().unwrap();
    std::fs::write(at("three"), b"lost or empty").unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    assert!(std::fs::remove_dir(folder.path().join("d")).is_ok());
    disk.cut_power(&mut StdRng::seed_from_u64(3));
    assert_eq!(std::fs::read(at("two")).unwrap(), vec![7; 100_000]);
    session.umount_and_join().unwrap();
}
