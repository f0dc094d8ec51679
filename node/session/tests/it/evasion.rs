//! Rows of the evasion table that no other test tells (`docs/evasion.md` lists all of them).

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

#[tokio::test]
async fn a_file_removed_while_it_is_open_is_never_counted_short() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/f", &[b'f'; 400]).await.unwrap();
    let in_place = OpenFlags { write: true, ..OpenFlags::default() };
    let open = session.open(b"/f", in_place, SetStat::default()).await.unwrap();
    session.remove(b"/f").await.unwrap();
    // Charged too; whether it is credited with the rest depends on whether the caught file is measured before or after.
    open.write(400, vec![b'g'; 300].into()).await.unwrap();
    put(session, "/g", &[b'g'; 700]).await.unwrap();
    assert!(exceeded(put(session, "/h", &[b'h'; 301]).await), "what has a name is within the quota");
    open.close().await.unwrap();
    house.leave(admitted).await;
    assert!(house.used("demo").bytes >= 700, "{:?}", house.used("demo"));
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
