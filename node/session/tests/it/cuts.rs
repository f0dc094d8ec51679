//! What ends a session, and that nothing of it passes afterwards (`PROTOCOL.md` 1.5, 2.3, 3; P1, P3).

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use flotilla_model::command::*;
use flotilla_model::{Command, CutReason, Permission, Status, UserPatch};
use flotilla_session::*;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::house::*;

fn passes(session: &Session) -> bool {
    session.connection().gate().write(|| Ok(1)).is_ok()
}

/// Whether nothing of the session passes any more, at neither check.
async fn is_over(session: &Session) -> bool {
    !passes(session) && matches!(session.stat(b"/").await, Err(Failure::SessionOver(_)))
}

#[tokio::test]
async fn commands_that_take_something_away_have_ended_the_session_when_they_are_applied() {
    let house = House::build().await;
    type Change = Box<dyn Fn(&House, &str)>;
    let patch =
        |patch: UserPatch| Box::new(move |house: &House, user: &str| house.update(user, patch.clone())) as Change;
    let narrowed = [("/".to_owned(), vec![Permission::List])].into();
    let changes: Vec<Change> = vec![
        patch(UserPatch { status: Some(Status::Disabled), ..UserPatch::default() }),
        patch(UserPatch { permissions: Some(narrowed), ..UserPatch::default() }),
        patch(UserPatch { password_hash: Some(None), ..UserPatch::default() }),
        Box::new(|house, user| {
            let command = DeleteUser { username: name(user), expected_revision: None };
            house.cluster.apply(Command::DeleteUser(command)).reply.unwrap();
        }),
    ];
    for (at, change) in changes.iter().enumerate() {
        let user = format!("demo{at}");
        house.create(&user, |_| {});
        let admitted = house.session(&user).await;
        let session = admitted.session();
        let aborted = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&aborted);
        session.connection().gate().set_abort(Box::new(move || _ = count.fetch_add(1, Ordering::SeqCst)));
        let file = session.open(b"/f", WRITE, SetStat::default()).await.unwrap();
        change(&house, &user);
        assert!(is_over(session).await, "change {at}");
        assert!(matches!(file.write(0, b"late".to_vec().into()).await, Err(Failure::SessionOver(_))));
        assert!(file.close().await.is_err());
        assert_eq!(aborted.load(Ordering::SeqCst), 1, "the connection is reset once");
        assert!(session.open_channel().await.is_err(), "no new channel on it");
        house.leave(admitted).await;
        assert!(!house.path(&format!("{user}/f")).exists());
    }
}

#[tokio::test]
async fn what_only_adds_does_not_cut_and_is_taken_up_at_the_next_request() {
    let house = House::build().await;
    house.create("demo", |user| {
        user.permissions = [("/".to_owned(), vec![Permission::List])].into();
        user.quota_size = 10;
    });
    let admitted = house.session("demo").await;
    let session = admitted.session();
    assert!(matches!(put(session, "/f", b"x").await, Err(Failure::NotAllowed("upload"))));
    let wider = [("/".to_owned(), vec![Permission::List, Permission::Upload])].into();
    house.update("demo", UserPatch { permissions: Some(wider), quota_size: Some(20), ..UserPatch::default() });
    put(session, "/f", &[b'x'; 20]).await.unwrap();
    assert!(passes(session));
}

#[tokio::test]
async fn a_lowered_session_limit_ends_the_newest() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let (first, second) = (house.session("demo").await, house.session("demo").await);
    house.update("demo", UserPatch { max_sessions: Some(1), ..UserPatch::default() });
    assert!(passes(first.session()));
    assert!(is_over(second.session()).await);
    let ended = second.session().connection().gate().ended().cloned();
    assert_eq!(ended, Some(EndReason::Cut(CutReason::SessionLimitLowered)));
}

#[tokio::test]
async fn a_killed_session_is_over_and_the_others_go_on() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let (killed, other) = (house.session("demo").await, house.session("demo").await);
    let command = KillSession { session: killed.session().id() };
    house.cluster.apply(Command::KillSession(command)).reply.unwrap();
    assert!(is_over(killed.session()).await);
    assert!(passes(other.session()));
}

#[tokio::test]
async fn a_slot_is_not_given_back_by_the_cut_but_when_the_stream_is_dead() {
    let house = House::build().await;
    house.create("demo", |user| user.max_sessions = 1);
    let admitted = house.session("demo").await;
    let command = KillSession { session: admitted.session().id() };
    house.cluster.apply(Command::KillSession(command)).reply.unwrap();
    assert_eq!(house.slots("demo"), 1);
    house.leave(admitted).await;
    assert_eq!(house.slots("demo"), 0);
}

#[tokio::test]
async fn past_the_lease_nothing_passes_even_if_no_timer_runs_and_it_never_revives() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let session = admitted.session();
    let file = session.open(b"/f", WRITE, SetStat::default()).await.unwrap();
    file.write(0, b"x".to_vec().into()).await.unwrap();
    house.clock.pass(Duration::from_secs(6));
    assert!(is_over(session).await);
    assert!(matches!(file.close().await, Err(Failure::SessionOver(_) | Failure::UploadFailed(_))));
    house.cluster.renew();
    assert!(is_over(session).await, "a renewal applied later does not revive it");
    house.cluster.register();
    assert!(is_over(session).await, "nor a new epoch");
    assert_eq!(house.slots("demo"), 0, "the registration ended the old epoch");
    let next = house.session("demo").await;
    assert!(passes(next.session()));
    house.leave(admitted).await;
    assert!(!house.path("demo/f").exists());
}

#[tokio::test]
async fn the_end_of_the_lease_resets_connections_by_itself() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let aborted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&aborted);
    admitted.session().connection().gate().set_abort(Box::new(move || flag.store(true, Ordering::SeqCst)));
    house.clock.pass(Duration::from_secs(6));
    let reason = tokio::time::timeout(Duration::from_secs(5), admitted.session().connection().gate().closed()).await;
    assert_eq!(reason, Ok(EndReason::LeaseLost));
    assert!(aborted.load(Ordering::SeqCst));
}

#[test]
fn a_cut_waits_for_the_write_under_way_and_no_write_starts_after_it_returned() {
    let gate = Gate::new();
    let (inside, leave) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let finished = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (writer, done) = (Arc::clone(&gate), Arc::clone(&finished));
        scope.spawn(move || {
            let written = writer.write(|| {
                inside.0.send(()).unwrap();
                leave.1.recv().unwrap();
                done.store(true, Ordering::SeqCst);
                Ok(7)
            });
            assert_eq!(written.unwrap(), 7);
        });
        inside.1.recv().unwrap();
        let (cutter, done) = (Arc::clone(&gate), Arc::clone(&finished));
        let cut = scope.spawn(move || {
            cutter.cut(EndReason::Silent);
            assert!(done.load(Ordering::SeqCst), "the cut returned while a write was under way");
        });
        leave.0.send(()).unwrap();
        cut.join().unwrap();
    });
    let late = gate.write(|| -> io::Result<usize> { panic!("a write started after the cut") });
    assert_eq!(late.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[test]
fn a_hook_that_is_set_after_the_cut_is_called_at_once() {
    let gate = Gate::new();
    gate.cut(EndReason::Drained);
    let called = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&called);
    gate.set_abort(Box::new(move || flag.store(true, Ordering::SeqCst)));
    assert!(called.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_cut_wakes_what_waits_on_the_socket() {
    let gate = Gate::new();
    let waiting = Arc::clone(&gate);
    let task = tokio::spawn(std::future::poll_fn(move |context| match waiting.ended() {
        Some(_) => std::task::Poll::Ready(()),
        None => {
            waiting.register(context.waker());
            std::task::Poll::Pending
        }
    }));
    tokio::task::yield_now().await;
    gate.cut(EndReason::Silent);
    tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
}

#[test]
fn the_slot_is_not_back_before_the_staged_file_of_an_abandoned_handle_is_unlinked() {
    slot_waits_for_unlink(|upload| tokio::spawn(async move { upload.abandon().await }));
}

#[test]
fn the_slot_is_not_back_before_the_staged_file_of_a_refused_close_is_unlinked() {
    slot_waits_for_unlink(|upload| tokio::spawn(async move { assert!(upload.close().await.is_err()) }));
}

fn slot_waits_for_unlink(end: impl FnOnce(Arc<dyn OpenFile>) -> tokio::task::JoinHandle<()>) {
    // The only thread for blocking work is taken when the handle ends: the unlink has to wait.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1).build().unwrap().block_on(async {
        let house = Arc::new(House::build().await);
        house.create("demo", |_| {});
        let admitted = house.session("demo").await;
        let upload = admitted.session().open(b"/f", WRITE, SetStat::default()).await.unwrap();
        upload.write(0, vec![b'f'; 100].into()).await.unwrap();
        assert_eq!(house.staged("demo"), 1);
        let (free, wait) = std::sync::mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || wait.recv());
        // As the front end does when its connection was cut.
        admitted.session().connection().gate().cut(EndReason::Other("test".into()));
        let ended = end(upload);
        let leaving = tokio::spawn({
            let house = Arc::clone(&house);
            async move {
                house.leave(admitted).await;
                house.staged("demo")
            }
        });
        // Whatever can happen without the unlink happens.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(house.slots("demo"), 1, "the staged file is there still");
        free.send(()).unwrap();
        assert_eq!(leaving.await.unwrap(), 0);
        ended.await.unwrap();
        taken.await.unwrap().unwrap();
        assert_eq!(house.slots("demo"), 0);
    });
}

/// What a test does on the session: on its own, or through a file that it has open in place.
type Late = fn(Arc<Session>, Arc<dyn OpenFile>) -> BoxFuture<'static, Result<(), Failure>>;

const LATE: [(&str, Late); 12] = [
    ("write", |_, file| async move { file.write(0, b"late".to_vec().into()).await }.boxed()),
    ("truncate", |_, file| async move { file.set_stat(SetStat { size: Some(0), ..SetStat::default() }).await }.boxed()),
    ("sync", |_, file| async move { file.sync().await }.boxed()),
    ("upload", |session, _| async move { put(&session, "/new", b"late").await }.boxed()),
    ("set_stat", |session, _| {
        async move { session.set_stat(b"/f", SetStat { mode: Some(0o600), ..SetStat::default() }).await }.boxed()
    }),
    ("remove", |session, _| async move { session.remove(b"/f").await }.boxed()),
    ("make_dir", |session, _| async move { session.make_dir(b"/new", SetStat::default()).await }.boxed()),
    ("remove_dir", |session, _| async move { session.remove_dir(b"/d").await }.boxed()),
    ("rename", |session, _| async move { session.rename(b"/f", b"/g").await }.boxed()),
    ("posix_rename", |session, _| async move { session.posix_rename(b"/f", b"/h").await }.boxed()),
    ("symlink", |session, _| async move { session.symlink(b"f", b"/l").await }.boxed()),
    ("list", |session, _| async move { list(&session, "/").await.map(|_| ()) }.boxed()),
];

/// Everything below a folder: mode and content.
fn tree(folder: &std::path::Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut all = BTreeMap::new();
    for entry in entries {
        let metadata = entry.metadata().unwrap();
        let content = if metadata.is_file() { std::fs::read(entry.path()).unwrap() } else { Vec::new() };
        all.insert(entry.file_name().into_string().unwrap(), (metadata.mode(), content));
    }
    all
}

/// The lease is looked at before the system call, not only when a request is begun: what waited for a thread until the lease was over does
/// nothing. A frozen node's requests are such.
#[test]
fn what_waits_past_the_lease_does_nothing() {
    #[cfg(feature = "planted-bugs")]
    if let Ok(bug) = std::env::var("FLOTILLA_PLANTED_BUG") {
        assert!(flotilla_model::planted::plant(&bug), "no such bug: {bug}");
    }
    // The only thread for blocking work is taken when a request is begun.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1).build().unwrap().block_on(async {
        for (verb, late) in LATE {
            let house = House::build().await;
            house.create("demo", |_| {});
            let admitted = house.session("demo").await;
            let session = Arc::clone(admitted.session());
            for (path, content) in [("/f", b"first"), ("/h", b"other")] {
                put(&session, path, content).await.unwrap();
            }
            session.make_dir(b"/d", SetStat::default()).await.unwrap();
            let in_place = OpenFlags { create: false, truncate: false, ..WRITE };
            let file = session.open(b"/f", in_place, SetStat::default()).await.unwrap();
            let before = tree(&house.path("demo"));
            let (free, wait) = std::sync::mpsc::channel::<()>();
            let taken = tokio::task::spawn_blocking(move || wait.recv());
            let waiting = tokio::spawn(late(Arc::clone(&session), Arc::clone(&file)));
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            assert!(!waiting.is_finished(), "{verb} does not wait for a thread");
            house.clock.pass(Duration::from_secs(6));
            free.send(()).unwrap();
            let ended = waiting.await.unwrap();
            assert!(matches!(ended, Err(Failure::SessionOver(_))), "{verb} past the lease: {ended:?}");
            assert_eq!(tree(&house.path("demo")), before, "{verb} past the lease");
            taken.await.unwrap().unwrap();
            file.abandon().await;
            house.leave(admitted).await;
        }
    });
}

/// A bug is planted once per process, so that this is another.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_check_at_dispatch_is_caught() {
    let test = ["--exact", "cuts::what_waits_past_the_lease_does_nothing"];
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    let run = tests.args(test).env("FLOTILLA_PLANTED_BUG", "check-at-dispatch").output().unwrap();
    let said = [run.stdout, run.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(!run.status.success() && said.contains("write past the lease: Ok(())"), "{said}");
}
