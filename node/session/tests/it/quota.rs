//! Ways around the quota, each closed (`reference/security.md` 4.7; P2).

use flotilla_model::Amount;
use flotilla_session::*;

use crate::house::*;

const QUOTA: u64 = 1000;

async fn limited(bytes: u64, files: u64) -> (House, Admitted) {
    let house = House::build().await;
    house.create("demo", |user| (user.quota_size, user.quota_files) = (bytes, files));
    let admitted = house.session("demo").await;
    (house, admitted)
}

fn exceeded<T>(result: Result<T, Failure>) -> bool {
    matches!(result, Err(Failure::QuotaExceeded(_)))
}

fn in_place() -> OpenFlags {
    OpenFlags { write: true, ..OpenFlags::default() }
}

#[tokio::test]
async fn exactly_the_quota_fits_and_the_next_byte_does_not() {
    let (house, admitted) = limited(QUOTA, 0).await;
    let session = admitted.session();
    put(session, "/full", &[b'x'; QUOTA as usize]).await.unwrap();
    assert!(exceeded(put(session, "/more", b"y").await));
    assert!(!house.path("demo/more").exists());
    let file = session.open(b"/full", in_place(), SetStat::default()).await.unwrap();
    assert!(exceeded(file.write(QUOTA, b"y".to_vec().into()).await));
    assert!(file.close().await.is_err());
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(QUOTA as i64, 1));
    assert_eq!(house.staged("demo"), 0);
}

#[tokio::test]
async fn an_upload_over_the_quota_leaves_the_old_file_and_its_room_is_free_at_once() {
    let (house, admitted) = limited(QUOTA, 0).await;
    let session = admitted.session();
    put(session, "/f", &[b'o'; 600]).await.unwrap();
    let file = session.open(b"/f", WRITE, SetStat::default()).await.unwrap();
    file.write(0, vec![b'n'; 300].into()).await.unwrap();
    assert!(exceeded(file.write(300, vec![b'n'; 300].into()).await));
    assert_eq!(house.staged("demo"), 0, "the staged file is gone before the CLOSE");
    put(session, "/g", &[b'g'; 400]).await.unwrap();
    assert!(matches!(file.close().await, Err(Failure::UploadFailed(_))));
    assert_eq!(house.read("demo/f"), "o".repeat(600));
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(1000, 2));
}

#[tokio::test]
async fn sizes_are_charged_as_they_look_not_as_they_are_stored() {
    let (house, admitted) = limited(QUOTA, 0).await;
    let session = admitted.session();
    let file = session.open(b"/sparse", WRITE, SetStat::default()).await.unwrap();
    assert!(exceeded(file.write(1 << 40, b"x".to_vec().into()).await));
    assert!(file.close().await.is_err());
    let file = session.open(b"/absurd", WRITE, SetStat::default()).await.unwrap();
    assert!(file.write(u64::MAX, b"x".to_vec().into()).await.is_err());
    assert!(file.close().await.is_err());
    put(session, "/f", b"x").await.unwrap();
    let grown = SetStat { size: Some(4 * QUOTA), ..SetStat::default() };
    assert!(exceeded(session.set_stat(b"/f", grown).await), "setstat by path");
    let file = session.open(b"/f", in_place(), SetStat::default()).await.unwrap();
    assert!(exceeded(file.set_stat(grown).await), "setstat by handle");
    file.set_stat(SetStat { size: Some(QUOTA), ..SetStat::default() }).await.unwrap();
    file.close().await.unwrap();
    let announced = session.open(b"/big", WRITE, grown).await;
    assert!(exceeded(announced), "known at open");
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(QUOTA as i64, 1));
}

#[tokio::test]
async fn a_second_handle_does_not_pay_twice_nor_pass_the_quota() {
    let (house, admitted) = limited(QUOTA, 0).await;
    let session = admitted.session();
    put(session, "/f", b"").await.unwrap();
    let first = session.open(b"/f", in_place(), SetStat::default()).await.unwrap();
    let second = session.open(b"/f", in_place(), SetStat::default()).await.unwrap();
    first.write(0, vec![b'1'; 600].into()).await.unwrap();
    second.write(0, vec![b'2'; 900].into()).await.unwrap();
    assert!(exceeded(first.write(600, vec![b'1'; 401].into()).await));
    second.close().await.unwrap();
    assert!(first.close().await.is_err(), "CLOSE after a failed WRITE fails");
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(900, 1));
}

#[tokio::test]
async fn a_shrink_in_place_earns_no_credit_but_marks_and_regrowth_costs_nothing_meanwhile() {
    let (house, admitted) = limited(QUOTA, 0).await;
    let session = admitted.session();
    put(session, "/f", &[b'x'; QUOTA as usize]).await.unwrap();
    let file = session.open(b"/f", in_place(), SetStat::default()).await.unwrap();
    file.set_stat(SetStat { size: Some(10), ..SetStat::default() }).await.unwrap();
    assert!(exceeded(put(session, "/g", b"x").await));
    file.write(10, vec![b'y'; 990].into()).await.unwrap();
    file.close().await.unwrap();
    house.leave(admitted).await;
    assert!(house.used("demo").bytes >= QUOTA as i64, "never under-counted");
}

#[tokio::test]
async fn removing_at_a_full_quota_makes_room() {
    let (house, admitted) = limited(QUOTA, 1).await;
    let session = admitted.session();
    for turn in 0..5 {
        put(session, "/f", &[b'x'; QUOTA as usize]).await.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        session.remove(b"/f").await.unwrap();
    }
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::ZERO);
}

#[tokio::test]
async fn files_and_symlinks_count_and_directories_do_not() {
    let (house, admitted) = limited(0, 3).await;
    let session = admitted.session();
    for at in 0..10 {
        session.make_dir(format!("/d{at}").as_bytes(), SetStat::default()).await.unwrap();
    }
    put(session, "/a", b"").await.unwrap();
    session.symlink(b"a", b"/link").await.unwrap();
    let exclusive = OpenFlags { exclusive: true, truncate: false, ..WRITE };
    session.open(b"/lock", exclusive, SetStat::default()).await.unwrap().close().await.unwrap();
    assert!(exceeded(put(session, "/b", b"").await));
    assert!(exceeded(session.symlink(b"a", b"/link2").await));
    assert!(exceeded(session.open(b"/lock2", exclusive, SetStat::default()).await));
    assert!(session.open(b"/lock", exclusive, SetStat::default()).await.is_err());
    assert!(!house.path("demo/lock2").exists());
    session.remove(b"/link").await.unwrap();
    put(session, "/b", b"").await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(0, 3));
}

#[tokio::test]
async fn of_twenty_four_uploads_at_once_exactly_as_many_as_fit_succeed() {
    let (house, admitted) = limited(10 * QUOTA, 0).await;
    let session = admitted.session();
    let content = vec![b'x'; QUOTA as usize];
    let puts = (0..24).map(|at| {
        let content = &content;
        async move { put(session, &format!("/f{at}"), content).await }
    });
    let outcomes = futures::future::join_all(puts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
    assert_eq!(list(session, "/").await.unwrap().len(), 10);
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(10 * QUOTA as i64, 10));
}

#[tokio::test]
async fn the_shared_root_of_two_users_has_one_ledger() {
    let house = House::build().await;
    for user in ["one", "two"] {
        house.create(user, |spec| {
            spec.home = crate::house::spec("shared").home;
            spec.quota_size = QUOTA;
        });
    }
    let (one, two) = (house.session("one").await, house.session("two").await);
    put(one.session(), "/f", &[b'x'; 700]).await.unwrap();
    assert!(exceeded(put(two.session(), "/g", &[b'x'; 400]).await));
    put(two.session(), "/g", &[b'x'; 300]).await.unwrap();
    house.leave(one).await;
    house.leave(two).await;
    assert_eq!(house.used("one"), Amount::new(1000, 2));
}

#[tokio::test]
async fn statvfs_shows_what_the_quota_leaves() {
    let (_house, admitted) = limited(1 << 20, 10).await;
    let session = admitted.session();
    put(session, "/f", &[b'x'; 1 << 18]).await.unwrap();
    let shown = session.space(b"/").await.unwrap().space;
    assert_eq!((shown.total_bytes, shown.free_bytes), (1 << 20, 3 << 18));
    assert_eq!((shown.total_files, shown.free_files), (10, 9));
}

#[tokio::test]
async fn what_was_announced_at_open_and_not_written_is_not_counted() {
    let (house, admitted) = limited(QUOTA, 0).await;
    let session = admitted.session();
    let announced = SetStat { size: Some(800), ..SetStat::default() };
    let file = session.open(b"/f", WRITE, announced).await.unwrap();
    assert!(exceeded(put(session, "/g", &[b'x'; 300]).await), "its room is taken meanwhile");
    file.write(0, vec![b'x'; 100].into()).await.unwrap();
    file.close().await.unwrap();
    put(session, "/g", &[b'x'; 300]).await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(400, 2));
}

#[tokio::test]
async fn what_was_replaced_or_shrunk_while_staged_is_counted_once() {
    let (house, admitted) = limited(QUOTA, 0).await;
    let session = admitted.session();
    for size in [400, 10, 500] {
        put(session, "/f", &vec![b'x'; size]).await.unwrap();
    }
    let file = session.open(b"/g", WRITE, SetStat::default()).await.unwrap();
    file.write(0, vec![b'x'; 300].into()).await.unwrap();
    file.set_stat(SetStat { size: Some(50), ..SetStat::default() }).await.unwrap();
    file.close().await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(550, 2));
    assert_eq!(house.staged("demo"), 0);
}

#[tokio::test]
async fn an_upload_of_a_dead_epoch_is_fenced_before_the_next_change_and_cannot_be_published() {
    let (house, frozen) = limited(0, 0).await;
    let late = frozen.session().open(b"/f", WRITE, SetStat::default()).await.unwrap();
    late.write(0, b"late".to_vec().into()).await.unwrap();
    assert_eq!(house.staged("demo"), 1);
    house.cluster.register();
    let next = house.session("demo").await;
    put(next.session(), "/f", b"acknowledged since").await.unwrap();
    assert!(late.close().await.is_err());
    house.leave(frozen).await;
    assert_eq!(house.read("demo/f"), "acknowledged since");
    assert_eq!(house.staged("demo"), 0);
}
