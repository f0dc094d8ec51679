//! Rows of the evasion table that no other test tells (`docs/evasion.md` lists all of them).

use std::future::poll_fn;
use std::task::Poll;

use flotilla_cluster::Cluster;
use flotilla_model::command::DeleteUser;
use flotilla_model::{Amount, Command, UserPatch};
use flotilla_session::*;

use crate::house::*;

const QUOTA: u64 = 1000;

async fn limited() -> (House, Admitted) {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = QUOTA);
    let admitted = house.session("demo").await;
    (house, admitted)
}

fn exceeded<T>(result: Result<T, Failure>) -> bool {
    matches!(result, Err(Failure::QuotaExceeded(_)))
}

#[tokio::test]
async fn appends_through_two_handles_are_counted_byte_for_byte_and_stop_at_the_quota() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/log", b"").await.unwrap();
    let append = OpenFlags { write: true, append: true, ..OpenFlags::default() };
    let first = session.open(b"/log", append, SetStat::default()).await.unwrap();
    let second = session.open(b"/log", append, SetStat::default()).await.unwrap();
    for turn in 0..5 {
        first.write(0, vec![b'1'; 100].into()).await.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        second.write(0, vec![b'2'; 100].into()).await.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
    }
    assert!(exceeded(first.write(0, b"1".to_vec().into()).await));
    second.close().await.unwrap();
    assert!(first.close().await.is_err());
    assert_eq!(house.read("demo/log").len() as u64, QUOTA);
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(QUOTA as i64, 1));
}

#[tokio::test]
async fn under_a_limit_lowered_below_what_is_used_nothing_grows_and_removing_works() {
    let (house, admitted) = limited().await;
    put(admitted.session(), "/a", &[b'a'; 600]).await.unwrap();
    put(admitted.session(), "/b", &[b'b'; 300]).await.unwrap();
    house.leave(admitted).await;
    house.update("demo", UserPatch { quota_size: Some(500), ..UserPatch::default() });
    let admitted = house.session("demo").await;
    let session = admitted.session();
    assert!(exceeded(put(session, "/c", b"x").await));
    session.remove(b"/b").await.unwrap();
    assert!(exceeded(put(session, "/c", b"x").await), "600 of 500 are used still");
    session.remove(b"/a").await.unwrap();
    put(session, "/c", &[b'c'; 500]).await.unwrap();
    assert!(exceeded(put(session, "/d", b"x").await));
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(500, 1));
}

#[tokio::test]
async fn a_user_made_anew_over_the_same_folder_begins_with_what_lies_there() {
    let (house, admitted) = limited().await;
    put(admitted.session(), "/kept", &[b'k'; 700]).await.unwrap();
    house.leave(admitted).await;
    let delete = DeleteUser { username: name("demo"), expected_revision: None };
    house.cluster.apply(Command::DeleteUser(delete)).reply.unwrap();
    house.create("demo", |user| user.quota_size = QUOTA);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    assert!(exceeded(put(session, "/more", &[b'm'; 301]).await));
    put(session, "/more", &[b'm'; 300]).await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(QUOTA as i64, 2));
}

const WRITE_IN_PLACE: OpenFlags =
    OpenFlags { read: false, write: true, append: false, create: false, truncate: false, exclusive: false };

/// A second put of 700 bytes does not fit as long as the first, removed, takes them.
async fn is_held(session: &Session) -> bool {
    match put(session, "/next", &[b'n'; 700]).await {
        Err(Failure::QuotaExceeded(text)) => {
            assert!(text.contains("bytes of removed files are still open here"), "{text}");
            true
        }
        other => {
            other.unwrap();
            false
        }
    }
}

#[tokio::test]
async fn a_file_removed_while_it_is_open_is_never_counted_short() {
    for (flags, by_other) in [(READ, false), (WRITE_IN_PLACE, false), (READ, true), (WRITE_IN_PLACE, true)] {
        let (house, admitted) = limited().await;
        let session = admitted.session();
        let other = house.session("demo").await;
        put(session, "/f", &[b'f'; 400]).await.unwrap();
        let opener = if by_other { other.session() } else { session };
        let open = opener.open(b"/f", flags, SetStat::default()).await.unwrap();
        let again = opener.open(b"/f", READ, SetStat::default()).await.unwrap();
        session.remove(b"/f").await.unwrap();
        if flags.write {
            // What it grows by after it was removed is charged, and comes back too.
            open.write(400, vec![b'g'; 300].into()).await.unwrap();
        } else {
            put(session, "/g", &[b'g'; 300]).await.unwrap();
        }
        assert!(is_held(session).await, "{flags:?} {by_other}");
        open.close().await.unwrap();
        assert!(is_held(session).await, "the other handle is open still: {flags:?} {by_other}");
        again.close().await.unwrap();
        assert!(!is_held(session).await, "{flags:?} {by_other}");
        house.leave(other).await;
        house.leave(admitted).await;
        assert_eq!(
            house.used("demo"),
            Amount::new(if flags.write { 700 } else { 1000 }, if flags.write { 1 } else { 2 })
        );
    }
}

#[tokio::test]
async fn the_end_of_the_remover_waits_for_no_handle_and_that_of_the_holder_credits() {
    let (house, remover) = limited().await;
    put(remover.session(), "/f", &[b'f'; 700]).await.unwrap();
    let holder = house.session("demo").await;
    let _open = holder.session().open(b"/f", READ, SetStat::default()).await.unwrap();
    remover.session().remove(b"/f").await.unwrap();
    house.leave(remover).await;
    assert_eq!(house.used("demo"), Amount::new(700, 1));
    let third = house.session("demo").await;
    assert!(is_held(third.session()).await);
    // Cut with its handle open.
    house.leave(holder).await;
    assert_eq!(house.used("demo"), Amount::ZERO);
    assert!(!is_held(third.session()).await);
    house.leave(third).await;
    assert_eq!(house.used("demo"), Amount::new(700, 1));
}

#[tokio::test]
async fn a_replaced_file_is_held_by_a_reader_and_a_published_one_by_its_other_handle() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/f", &[b'o'; 300]).await.unwrap();
    let reader = session.open(b"/f", READ, SetStat::default()).await.unwrap();
    let upload = session.open(b"/f", WRITE, SetStat::default()).await.unwrap();
    upload.write(0, vec![b'n'; 400].into()).await.unwrap();
    let more = session.open(b"/f", OpenFlags { create: true, ..WRITE_IN_PLACE }, SetStat::default()).await.unwrap();
    upload.close().await.unwrap();
    assert!(is_held(session).await, "the old file is being read");
    reader.close().await.unwrap();
    session.remove(b"/f").await.unwrap();
    assert!(is_held(session).await, "the new one is open through its second handle");
    more.write(400, vec![b'm'; 100].into()).await.unwrap();
    more.close().await.unwrap();
    assert!(!is_held(session).await);
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(700, 1));
}

#[tokio::test]
async fn overwriting_at_the_edge_is_charged_whole_until_the_old_file_is_caught_and_credited_once() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/f", &[b'o'; 600]).await.unwrap();
    assert!(exceeded(put(session, "/f", &[b'n'; 401]).await), "old + rest + 1");
    assert_eq!(house.read("demo/f"), "o".repeat(600), "and the old file is whole");
    for turn in 0..5 {
        put(session, "/f", &[b'n'; 400]).await.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
    }
    put(session, "/rest", &[b'r'; 600]).await.unwrap();
    assert!(exceeded(put(session, "/one", b"1").await));
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(QUOTA as i64, 2));
}

#[tokio::test]
async fn a_held_credit_keeps_no_names_in_the_log_and_comes_all_the_same() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = 10_000);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/f", &[b'f'; 700]).await.unwrap();
    let open = session.open(b"/f", READ, SetStat::default()).await.unwrap();
    session.remove(b"/f").await.unwrap();
    let names = || {
        let state = house.cluster.state();
        state.account(state.user(&name("demo")).unwrap().account).unwrap().credited.len()
    };
    for _ in 0..1000 {
        put(session, "/g", b"g").await.unwrap();
        session.remove(b"/g").await.unwrap();
    }
    eventually("the others are credited", || house.used("demo") == Amount::new(700, 1)).await;
    eventually("names are forgotten while the file is open", || names() < 300).await;
    open.close().await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::ZERO);
}

#[test]
fn what_was_removed_and_credited_between_an_open_and_its_first_look_is_not_opened() {
    // One thread for blocking work: what is queued on it later runs later.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1).build().unwrap().block_on(async {
        let (house, admitted) = limited().await;
        let session = admitted.session();
        put(session, "/f", &[b'f'; 700]).await.unwrap();
        for flags in [READ, WRITE_IN_PLACE] {
            let mut opening = session.open(b"/f", flags, SetStat::default());
            // As far as the storage's open, before which an open for writing looks at the name: it is done then, and not looked at.
            for _ in 0..if flags.write { 2 } else { 1 } {
                let (free, wait) = std::sync::mpsc::channel::<()>();
                let taken = tokio::task::spawn_blocking(move || wait.recv());
                assert!(poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx))).await.is_pending());
                free.send(()).unwrap();
                taken.await.unwrap().unwrap();
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            }
            session.remove(b"/f").await.unwrap();
            put(session, "/f", &[b'g'; 700]).await.unwrap();
            assert!(matches!(opening.await, Err(Failure::NotFound)), "{flags:?}");
        }
        house.leave(admitted).await;
        assert_eq!(house.used("demo"), Amount::new(700, 1));
    });
}
