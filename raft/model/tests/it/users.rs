//! Users: conditional changes, what cuts and what only adds, homes and accounts, what apply does not believe.

use std::collections::BTreeMap;

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn patch() -> UserPatch {
    UserPatch::default()
}

/// A world with a session of `demo`, whose user `change` made.
fn with_session(change: impl FnOnce(&mut UserSpec)) -> (World, SessionId) {
    let mut world = World::new(2);
    let mut spec = spec("demo");
    change(&mut spec);
    world.create("demo", spec);
    let session = world.open(1, "demo").unwrap();
    (world, session)
}

/// Why a session of a user is cut by a patch.
fn cut_by(change: impl FnOnce(&mut UserSpec), patch: UserPatch) -> Option<CutReason> {
    let (mut world, session) = with_session(change);
    let reply = world.update("demo", patch).unwrap();
    let reason = world.cut(session);
    assert_eq!(
        matches!(reply, Done::Revoked { .. }),
        reason.is_some(),
        "the reply names the node if and only if it cuts"
    );
    reason
}

fn permissions(list: &[(&str, &[Permission])]) -> BTreeMap<String, Vec<Permission>> {
    list.iter().map(|(path, list)| ((*path).to_owned(), list.to_vec())).collect()
}

#[test]
fn what_takes_something_away_cuts() {
    use CutReason::*;
    use Permission::*;
    let filters = |change: fn(&mut Filters)| {
        let mut filters = Filters::default();
        change(&mut filters);
        UserPatch { filters: Some(filters), ..patch() }
    };
    let only = |list: &[(&str, &[Permission])]| UserPatch { permissions: Some(permissions(list)), ..patch() };
    let none = |_: &mut UserSpec| {};
    assert_eq!(cut_by(none, UserPatch { status: Some(Status::Disabled), ..patch() }), Some(UserDisabled));
    assert_eq!(cut_by(none, UserPatch { password_hash: Some(None), ..patch() }), Some(CredentialChanged));
    assert_eq!(cut_by(none, UserPatch { password_hash: Some(Some("x".into())), ..patch() }), Some(CredentialChanged));
    assert_eq!(cut_by(none, UserPatch { public_keys: Some(vec![]), ..patch() }), Some(CredentialChanged));
    assert_eq!(cut_by(none, UserPatch { home: Some(root("elsewhere")), ..patch() }), Some(UserChanged));
    assert_eq!(cut_by(none, UserPatch { expiration_date: Some(1), ..patch() }), Some(UserChanged));
    assert_eq!(cut_by(none, only(&[("/", &[List, Download])])), Some(UserChanged));
    assert_eq!(cut_by(none, only(&[("/", &[Any]), ("/in", &[Upload])])), Some(UserChanged));
    assert_eq!(cut_by(none, filters(|f| f.allowed_ip.push("192.0.2.0/24".into()))), Some(UserChanged));
    assert_eq!(cut_by(none, filters(|f| f.denied_ip.push("192.0.2.0/24".into()))), Some(UserChanged));
    assert_eq!(cut_by(none, filters(|f| f.denied_login_methods.push("password".into()))), Some(UserChanged));
    assert_eq!(cut_by(none, filters(|f| f.denied_protocols.push("SSH".into()))), Some(UserChanged));
    assert_eq!(cut_by(none, filters(|f| f.max_upload_file_size = 1)), Some(UserChanged));
    assert_eq!(
        cut_by(|s| _ = s.permissions.insert("/in".into(), vec![Any]), only(&[("/", &[List])])),
        Some(UserChanged)
    );
}

#[test]
fn what_only_adds_does_not_cut() {
    use Permission::*;
    let none = |_: &mut UserSpec| {};
    let keys = vec!["ssh-ed25519 AAAA one".to_owned(), "ssh-ed25519 AAAA two".to_owned()];
    assert_eq!(cut_by(none, UserPatch { public_keys: Some(keys), ..patch() }), None);
    assert_eq!(
        cut_by(|s| s.password_hash = None, UserPatch { password_hash: Some(Some("x".into())), ..patch() }),
        None
    );
    assert_eq!(cut_by(|s| s.max_sessions = 2, UserPatch { max_sessions: Some(5), ..patch() }), None);
    assert_eq!(cut_by(|s| s.max_sessions = 2, UserPatch { max_sessions: Some(0), ..patch() }), None);
    assert_eq!(cut_by(none, UserPatch { max_sessions: Some(1), ..patch() }), None, "one session fits a limit of one");
    assert_eq!(cut_by(none, UserPatch { upload_bandwidth: Some(9), email: Some("e".into()), ..patch() }), None);
    assert_eq!(cut_by(none, UserPatch { expiration_date: Some(u64::MAX), ..patch() }), None);
    assert_eq!(cut_by(|s| s.expiration_date = u64::MAX, UserPatch { expiration_date: Some(0), ..patch() }), None);
    let wider = permissions(&[("/", &[List, Delete]), ("/in", &[List, Upload])]);
    let narrow = permissions(&[("/", &[List, DeleteFiles]), ("/in", &[List])]);
    assert_eq!(cut_by(|s| s.permissions = narrow, UserPatch { permissions: Some(wider), ..patch() }), None);
    let denied = |s: &mut UserSpec| s.filters.denied_protocols.push("FTP".into());
    assert_eq!(cut_by(denied, UserPatch { filters: Some(Filters::default()), ..patch() }), None);
    let allowed = |s: &mut UserSpec| s.filters.allowed_ip.push("192.0.2.0/24".into());
    assert_eq!(cut_by(allowed, UserPatch { filters: Some(Filters::default()), ..patch() }), None);
}

#[test]
fn a_folder_is_judged_by_the_nearest_named_one_above_it() {
    use Permission::*;
    let deeper = |in_a: &[Permission]| UserPatch {
        permissions: Some(permissions(&[("/", &[Any]), ("/a", in_a), ("/a/b/c", &[List])])),
        ..patch()
    };
    let narrow = |s: &mut UserSpec| s.permissions = permissions(&[("/", &[Any]), ("/a", &[List])]);
    assert_eq!(cut_by(narrow, deeper(&[List])), None, "/a/b/c could only list before");
    let wide = |s: &mut UserSpec| s.permissions = permissions(&[("/", &[List]), ("/a", &[Any])]);
    assert_eq!(cut_by(wide, deeper(&[Any])), Some(CutReason::UserChanged), "/a/b/c could do all before");
}

#[test]
fn a_login_verified_against_an_older_credential_is_refused_as_changed() {
    let (mut world, _) = with_session(|_| {});
    let (id, stale) = (world.id(2), world.open_command("demo"));
    world.update("demo", UserPatch { public_keys: Some(vec!["another".into()]), ..patch() }).unwrap();
    assert_eq!(world.run_as(id, stale), Err(Refusal::UserChanged { username: name("demo") }));
    let (id, old_mail) = (world.id(2), world.open_command("demo"));
    world.update("demo", UserPatch { email: Some("new@example.org".into()), ..patch() }).unwrap();
    assert!(world.run_as(id, old_mail).is_ok(), "what does not concern logins does not disturb them");
}

#[test]
fn a_login_in_the_same_entry_as_a_cut_is_not_born_cut() {
    let (mut world, session) = with_session(|_| {});
    let narrowing = UpdateUser {
        username: name("demo"),
        expected_revision: None,
        patch: UserPatch { permissions: Some(permissions(&[("/", &[Permission::List])])), ..patch() },
    };
    let update = Envelope { id: CommandId::Unnumbered, actor: "admin".into(), command: Command::UpdateUser(narrowing) };
    let id = world.id(2);
    let open = Envelope { id, actor: "node 2".into(), command: world.open_command("demo") };
    let replies = world.entry(vec![update, open]);
    assert_eq!(replies[1], Err(Refusal::UserChanged { username: name("demo") }));
    assert_eq!(world.cut(session), Some(CutReason::UserChanged));
    let anew = world.open(2, "demo").unwrap();
    assert_eq!(world.cut(anew), None);
}

#[test]
fn sessions_of_a_deleted_user_stay_cut_when_the_name_is_used_again() {
    let (mut world, session) = with_session(|_| {});
    let delete = DeleteUser { username: name("demo"), expected_revision: None };
    let reply = world.run(Command::DeleteUser(delete));
    assert_eq!(reply, Ok(Done::Revoked { revision: world.index, nodes: vec![NodeId(1)] }));
    assert_eq!(world.cut(session), Some(CutReason::UserDeleted));
    world.create("demo", UserSpec { max_sessions: 1, ..spec("demo") });
    assert_eq!(world.cut(session), Some(CutReason::UserDeleted));
    assert!(world.open(2, "demo").is_err(), "the slot comes back with the close");
    world.close(session).unwrap();
    world.open(2, "demo").unwrap();
}

#[test]
fn a_cut_is_read_from_a_snapshot_too() {
    let (mut world, session) = with_session(|_| {});
    world.update("demo", UserPatch { status: Some(Status::Disabled), ..patch() }).unwrap();
    let restored = State::from_snapshot(world.state.to_snapshot()).unwrap();
    let row = restored.session(session).unwrap();
    assert_eq!(restored.session_cut(row), Some(CutReason::UserDisabled));
}

#[test]
fn disabling_again_names_the_nodes_that_still_hold_a_session() {
    let (mut world, session) = with_session(|_| {});
    let disabled = || UserPatch { status: Some(Status::Disabled), ..patch() };
    world.update("demo", disabled()).unwrap();
    let revision = world.index;
    assert_eq!(world.update("demo", disabled()), Ok(Done::Revoked { revision, nodes: vec![NodeId(1)] }));
    world.close(session).unwrap();
    assert_eq!(world.update("demo", disabled()), Ok(Done::Revision(revision)));
}

#[test]
fn a_conditional_change_is_refused_when_the_record_moved() {
    let mut world = World::new(1);
    let revision = world.create("demo", spec("demo"));
    let update = |expected| {
        Command::UpdateUser(UpdateUser {
            username: name("demo"),
            expected_revision: Some(expected),
            patch: UserPatch { uid: Some(expected as u32), ..patch() },
        })
    };
    world.run(update(revision)).unwrap();
    let actual = world.index;
    assert_eq!(world.run(update(revision)), Err(Refusal::RevisionMismatch { expected: revision, actual }));
    world.run(update(actual)).unwrap();
}

#[test]
fn replacing_keeps_the_password_only_if_so_wished() {
    let mut world = World::new(1);
    world.create("demo", spec("demo"));
    let mut replace = |keep_password| {
        let spec = UserSpec { password_hash: None, ..spec("demo") };
        let command = ReplaceUser { username: name("demo"), expected_revision: None, spec, keep_password };
        world.run(Command::ReplaceUser(command)).unwrap();
        world.state.user(&name("demo")).unwrap().password_hash.is_some()
    };
    assert!(replace(true));
    assert!(!replace(false));
}

#[test]
fn users_of_one_root_share_an_account_that_goes_with_the_last_of_them() {
    let mut world = World::new(1);
    world.create("one", spec("shared"));
    world.create("two", spec("shared"));
    world.create("other", spec("other"));
    let account = |world: &World, user: &str| world.state.user(&name(user)).unwrap().account;
    let shared = account(&world, "one");
    assert_eq!(shared, account(&world, "two"));
    assert_ne!(shared, account(&world, "other"));
    assert_eq!(world.state.users_of_account(shared).count(), 2);
    for user in ["one", "two"] {
        let delete = DeleteUser { username: name(user), expected_revision: None };
        world.run(Command::DeleteUser(delete)).unwrap();
    }
    assert_eq!(world.state.users_of_account(shared).count(), 0);
    world.create("three", spec("shared"));
    assert_ne!(account(&world, "three"), shared, "what was counted was forgotten");
    assert_eq!(world.state.account_by_root(&root("shared")).unwrap().id, account(&world, "three"));
}

#[test]
fn no_root_contains_or_lies_in_the_root_of_a_limited_account() {
    let limited = |home: &str| UserSpec { quota_size: 1, ..spec(home) };
    let create = |world: &mut World, user: &str, spec| {
        world.run(Command::CreateUser(CreateUser { username: name(user), spec })).is_ok()
    };
    let mut world = World::new(1);
    assert!(create(&mut world, "plain", spec("a")));
    assert!(create(&mut world, "below", spec("a/b")), "unlimited roots may nest");
    assert!(!create(&mut world, "x", limited("a/b/c")), "it lies in roots that are in use");
    assert!(!create(&mut world, "x", limited("")), "it contains roots that are in use");
    assert!(!create(&mut world, "x", limited("a")), "its own root would become limited and contain another");
    assert!(create(&mut world, "tight", limited("ab")), "a common beginning is not a common folder");
    assert!(!create(&mut world, "x", spec("ab/c")) && !create(&mut world, "x", spec("")));
    assert!(create(&mut world, "same", spec("ab")), "the same root is shared");
    let home = |path: &str| UserPatch { home: Some(root(path)), ..patch() };
    assert!(world.update("below", home("ab/x")).is_err());
    assert!(world.update("tight", home("ab/x")).is_err(), "another user still lives in ab");
    let delete = DeleteUser { username: name("same"), expected_revision: None };
    world.run(Command::DeleteUser(delete)).unwrap();
    assert!(world.update("tight", home("ab/x")).is_ok(), "nobody else uses what contains it");
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn what_a_proposer_should_have_checked_is_refused_by_name() {
    let mut world = World::new(1);
    let mut refused = |change: fn(&mut UserSpec)| {
        let mut spec = spec("demo");
        change(&mut spec);
        match world.run(Command::CreateUser(CreateUser { username: name("demo"), spec })) {
            Err(Refusal::Invalid(what)) => what.split(':').next().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|s| s.permissions.clear()), "permissions");
    for path in ["relative", "/a/", "/a//b", "/a/../b", "/./a", "//", "/a\0"] {
        let mut spec = spec("demo");
        spec.permissions.insert(path.to_owned(), vec![Permission::List]);
        let reply = World::new(1).run(Command::CreateUser(CreateUser { username: name("demo"), spec }));
        assert!(matches!(reply, Err(Refusal::Invalid(_))), "{path:?} was taken");
    }
    assert_eq!(refused(|s| s.public_keys = vec!["k".into(); 65]), "public_keys");
    assert_eq!(refused(|s| s.public_keys = vec!["k".repeat(9_000)]), "public_keys");
    assert_eq!(refused(|s| s.password_hash = Some("p".repeat(600))), "password");
    assert_eq!(refused(|s| s.description = "d".repeat(5_000)), "description");
    assert_eq!(refused(|s| s.filters.allowed_ip = vec!["1".into(); 300]), "allowed_ip");
    assert!(world.state.users_after(None).next().is_none());
}
