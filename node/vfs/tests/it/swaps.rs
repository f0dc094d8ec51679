//! What another session does to a name between any two system calls of an upload or remove: a folder, a file or nothing is there suddenly.

use std::path::PathBuf;

use flotilla_vfs::{Durability, VfsError};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixtures::*;
use crate::guards::*;

const CLOSE: Durability = Durability::Close;

fn exchange(left: PathBuf, right: PathBuf) -> impl FnOnce() + Send + 'static {
    // Where one of them is in staging just then, the other session's call fails; that is its affair.
    move || {
        let _ = renameat_with(CWD, &left, CWD, &right, RenameFlags::EXCHANGE);
    }
}

async fn with_full_folder(fixture: &Fixture) {
    put(&*fixture.root, "f", b"old").await.unwrap();
    fixture.root.make_dir(b"folder", 0o755, CLOSE, &free()).await.unwrap();
    put(&*fixture.root, "folder/thesis", b"years").await.unwrap();
}

#[tokio::test]
async fn a_folder_swapped_to_the_name_of_an_upload_is_never_lost() {
    let mut caught_by_exchange = 0;
    for call in 0.. {
        let fixture = Fixture::new().await;
        with_full_folder(&fixture).await;
        let staged = stage(&*fixture.root, "f", b"new").await.unwrap();
        let guard = Interrupt::meanwhile(call, exchange(fixture.inside("f"), fixture.inside("folder")));
        let result = staged.publish(CLOSE, &as_guard(&guard)).await;
        if !guard.has_acted() {
            assert!(call > 5);
            break;
        }
        match result {
            Err(VfsError::IsDirectory) => {
                assert!(!staged.is_published());
                caught_by_exchange += 1;
                staged.discard().await.unwrap();
                assert_eq!(get(&*fixture.root, "f/thesis").await.unwrap(), b"years", "call {call}");
                assert_eq!(get(&*fixture.root, "folder").await.unwrap(), b"old", "call {call}");
            }
            // Swapped after the exchange: the new file was moved with the name, as by any rename.
            Ok(caught) => {
                settle(caught).await.unwrap();
                assert_eq!(get(&*fixture.root, "f/thesis").await.unwrap(), b"years", "call {call}");
                assert_eq!(get(&*fixture.root, "folder").await.unwrap(), b"new", "call {call}");
            }
            Err(error) => panic!("call {call}: {error:?}"),
        }
        assert_eq!(fixture.staged_names(EPOCH), Vec::<String>::new(), "call {call}");
    }
    assert!(caught_by_exchange >= 2);
}

/// The folder is caught, and before it goes back another session stores a file at the name (its upload replaces ours).
#[tokio::test]
async fn another_sessions_file_is_not_lost_when_a_caught_folder_goes_back() {
    // The calls up to the exchange, counted once without interruption.
    let calls = {
        let fixture = Fixture::new().await;
        with_full_folder(&fixture).await;
        let staged = stage(&*fixture.root, "f", b"new").await.unwrap();
        let guard = StopAfter::new(usize::MAX);
        staged.publish(CLOSE, &as_guard(&guard)).await.unwrap();
        guard.asked()
    };
    let mut passed = 0;
    for (first, second) in (0..calls).flat_map(|first| (first..calls + 4).map(move |second| (first, second))) {
        let fixture = Fixture::new().await;
        with_full_folder(&fixture).await;
        let staged = stage(&*fixture.root, "f", b"new").await.unwrap();
        let (f, folder, other) = (fixture.inside("f"), fixture.inside("folder"), fixture.inside("other"));
        std::fs::write(&other, "acknowledged").unwrap();
        // What a publish of another node does: exchange, then take away what came back, if it was a file.
        let replace = move || {
            if f.is_file() {
                renameat_with(CWD, &other, CWD, &f, RenameFlags::EXCHANGE).unwrap();
                std::fs::remove_file(&other).unwrap();
            }
        };
        let inner = Interrupt::meanwhile(second, replace);
        let guard = Both(inner.clone(), Interrupt::meanwhile(first, exchange(fixture.inside("f"), folder)));
        let result = staged.publish(CLOSE, &guard.shared()).await;
        let has_replaced = inner.has_acted() && !fixture.inside("other").exists();
        let context =
            format!("swap before {first}, replaced before {second} ({has_replaced}): {:?}", result.as_ref().err());
        let was_moved = |name: &str| {
            let kept = fixture.folder.path().join(".flotilla/kept");
            let mut places = vec![fixture.inside("f").join(name), fixture.inside("folder").join(name)];
            for one in names_in(&kept) {
                places.extend(names_in(&kept.join(&one)).iter().map(|held| kept.join(&one).join(held).join(name)));
            }
            places.iter().any(|place| place.exists())
        };
        assert!(was_moved("thesis"), "{context}: the folder is lost");
        if has_replaced {
            let names = ["f", "folder"].map(|name| std::fs::read_to_string(fixture.inside(name)).unwrap_or_default());
            assert!(names.iter().any(|text| text == "acknowledged"), "{context}: {names:?}");
            passed += usize::from(staged.is_published());
        }
        if let Ok(caught) = result {
            settle(caught).await.unwrap();
        }
        staged.discard().await.unwrap();
        assert_eq!(fixture.staged_names(EPOCH), Vec::<String>::new(), "{context}");
    }
    assert!(passed > 0, "the second exchange was reached");
}

struct Both(std::sync::Arc<Interrupt>, std::sync::Arc<Interrupt>);

impl Both {
    fn shared(self) -> flotilla_vfs::GuardRef {
        std::sync::Arc::new(self)
    }
}

impl flotilla_vfs::Guard for Both {
    fn check(&self) -> Result<(), flotilla_vfs::Stopped> {
        self.1.check()?;
        self.0.check()
    }
}

#[tokio::test]
async fn a_name_that_comes_or_goes_during_an_upload_does_not_stop_it() {
    for (is_there, call) in [false, true].into_iter().flat_map(|is_there| (0..8).map(move |call| (is_there, call))) {
        let fixture = Fixture::new().await;
        if is_there {
            put(&*fixture.root, "f", b"old").await.unwrap();
        }
        let staged = stage(&*fixture.root, "f", b"new").await.unwrap();
        let f = fixture.inside("f");
        let guard = Interrupt::meanwhile(call, move || match f.exists() {
            true => std::fs::remove_file(&f).unwrap(),
            false => std::fs::write(&f, "came").unwrap(),
        });
        let caught = staged.publish(CLOSE, &as_guard(&guard)).await.unwrap();
        settle(caught).await.unwrap();
        if guard.has_acted() && fixture.inside("f").exists() {
            assert_eq!(get(&*fixture.root, "f").await.unwrap(), b"new");
        }
        assert_eq!(fixture.staged_names(EPOCH), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_folder_swapped_to_a_name_that_is_removed_goes_back() {
    let mut refused = 0;
    for call in 0..8 {
        let fixture = Fixture::new().await;
        with_full_folder(&fixture).await;
        let guard = Interrupt::meanwhile(call, exchange(fixture.inside("f"), fixture.inside("folder")));
        let result = fixture.root.remove(b"f", EPOCH, CLOSE, &as_guard(&guard)).await;
        match result {
            Err(VfsError::IsDirectory) => refused += 1,
            Err(VfsError::NotFound) => {}
            Err(error) => panic!("call {call}: {error:?}"),
            Ok(caught) => drop(settle(Some(caught)).await.unwrap()),
        }
        let places = [fixture.inside("f").join("thesis"), fixture.inside("folder").join("thesis")];
        assert!(places.iter().any(|place| place.exists()), "call {call}");
        assert_eq!(fixture.staged_names(EPOCH), Vec::<String>::new(), "call {call}");
    }
    assert!(refused > 0);
}
