//! Admins with their tokens and keys, groups, folders and roles: kept by name, conditional, never dangling.

use flotilla_model::command::*;
use flotilla_model::event::Fact;
use flotilla_model::*;

use crate::world::*;

fn put<S: Spec>(world: &mut World, name: &str, expected: Expected, spec: S) -> Reply {
    world.run(S::put(Put { name: kept(name), expected, spec }))
}

fn create<S: Spec>(world: &mut World, name: &str, spec: S) -> LogIndex {
    match put(world, name, Expected::Absent, spec) {
        Ok(Done::Revision(revision)) => revision,
        other => panic!("{name}: {other:?}"),
    }
}

fn delete<S: Spec>(world: &mut World, name: &str, expected_revision: Option<LogIndex>) -> Reply {
    world.run(S::delete(Delete { name: kept(name), expected_revision }))
}

fn issue(world: &mut World, revision: LogIndex, hash: u8, expires_at: u64) -> Reply {
    world.run(Command::IssueToken(IssueToken { admin: kept("ann"), revision, hash: [hash; 32], expires_at }))
}

fn key(id: &str, expected: Expected, hash: Option<u8>, admin: Option<&str>) -> Command {
    Command::PutApiKey(PutApiKey {
        id: kept(id),
        expected,
        hash: hash.map(|byte| [byte; 32]),
        label: "ci".into(),
        description: String::new(),
        admin: admin.map(kept),
        expires_at: 0,
    })
}

/// Milliseconds of wall time far ahead of the world's.
const LATER: u64 = 4_000_000_000_000;

#[test]
fn a_record_is_created_once_and_replaced_on_its_revision() {
    let mut world = World::new(1);
    let made = create(&mut world, "ops", RoleSpec::default());
    let again = put(&mut world, "ops", Expected::Absent, RoleSpec::default());
    assert_eq!(again, Err(Refusal::NameExists { name: "role ops".into() }));
    let text = |text: &str| RoleSpec { description: text.into() };
    let changed = put(&mut world, "ops", Expected::Revision(made), text("one"));
    assert_eq!(changed, Ok(Done::Revision(world.index)));
    let actual = world.index;
    let stale = put(&mut world, "ops", Expected::Revision(made), text("two"));
    assert_eq!(stale, Err(Refusal::RevisionMismatch { expected: made, actual }));
    assert_eq!(put(&mut world, "ops", Expected::Present, text("one")), Ok(Done::Revision(actual)), "nothing to do");
    assert!(world.last.events.is_empty());
    let missing = Err(Refusal::NameNotFound { name: "role no".into() });
    assert_eq!(put(&mut world, "no", Expected::Present, text("x")), missing);
    assert_eq!(delete::<RoleSpec>(&mut world, "no", None), missing);
    assert_eq!(
        delete::<RoleSpec>(&mut world, "ops", Some(made)),
        Err(Refusal::RevisionMismatch { expected: made, actual })
    );
    let row = world.state.kept::<RoleSpec>(&kept("ops")).unwrap();
    assert_eq!((row.incarnation, row.revision, row.spec.description.as_str()), (made, actual, "one"));
    delete::<RoleSpec>(&mut world, "ops", Some(actual)).unwrap();
    assert_eq!(world.state.kept_count::<RoleSpec>(), 0);
}

#[test]
fn what_is_named_cannot_be_deleted_and_what_is_missing_cannot_be_named() {
    let mut world = World::new(1);
    let no_folder = put(&mut world, "g", Expected::Absent, group_spec(&["f"]));
    assert!(matches!(no_folder, Err(Refusal::Invalid(text)) if text.contains("folder f")));
    create(&mut world, "f", folder_spec("/srv/f"));
    create(&mut world, "g", group_spec(&["f"]));
    let user = |group: &str, role: Option<&str>| UserSpec {
        groups: vec![MemberOf { group: kept(group), membership: Membership::Primary }],
        role: role.map(kept),
        ..spec("demo")
    };
    let create_user = |spec: UserSpec| Command::CreateUser(CreateUser { username: name("demo"), spec });
    assert!(matches!(world.run(create_user(user("h", None))), Err(Refusal::Invalid(text)) if text.contains("group h")));
    assert!(
        matches!(world.run(create_user(user("g", Some("r")))), Err(Refusal::Invalid(text)) if text.contains("role r"))
    );
    create(&mut world, "r", RoleSpec::default());
    world.run(create_user(user("g", Some("r")))).unwrap();
    let used = |name: &str, by: &str| Err(Refusal::InUse { name: name.into(), by: by.into() });
    assert_eq!(delete::<FolderSpec>(&mut world, "f", None), used("folder f", "group g"));
    assert_eq!(delete::<GroupSpec>(&mut world, "g", None), used("group g", "user demo"));
    assert_eq!(delete::<RoleSpec>(&mut world, "r", None), used("role r", "user demo"));
    world.update("demo", UserPatch { groups: Some(vec![]), role: Some(None), ..UserPatch::default() }).unwrap();
    delete::<GroupSpec>(&mut world, "g", None).unwrap();
    delete::<FolderSpec>(&mut world, "f", None).unwrap();
    create(&mut world, "ann", bound_to("r"));
    assert_eq!(delete::<RoleSpec>(&mut world, "r", None), used("role r", "admin ann"));
    invariant::check_all(&world.state).unwrap();
}

/// An admin of a role.
fn bound_to(role: &str) -> AdminSpec {
    AdminSpec { role: Some(kept(role)), permissions: vec!["view_users".into()], ..admin_spec() }
}

#[test]
fn an_admin_of_a_role_cannot_hold_every_permission_whoever_proposes_it() {
    let mut world = World::new(1);
    create(&mut world, "r", RoleSpec::default());
    let all = AdminSpec { permissions: vec!["view_users".into(), "*".into()], ..bound_to("r") };
    let reply = put(&mut world, "ann", Expected::Absent, all);
    assert!(matches!(&reply, Err(Refusal::Invalid(text)) if text.starts_with("permissions: ")), "{reply:?}");
    create(&mut world, "ann", admin_spec());
    let bound = AdminSpec { role: Some(kept("r")), ..admin_spec() };
    assert!(matches!(put(&mut world, "ann", Expected::Present, bound), Err(Refusal::Invalid(_))));
    put(&mut world, "ann", Expected::Present, bound_to("r")).unwrap();
}

#[test]
fn a_user_names_a_group_once_and_one_primary_group() {
    let mut world = World::new(1);
    create(&mut world, "g", GroupSpec::default());
    create(&mut world, "h", GroupSpec::default());
    let member = |group: &str, membership| MemberOf { group: kept(group), membership };
    let mut refused = |groups: Vec<MemberOf>, why: &str| {
        let spec = UserSpec { groups, ..spec("demo") };
        let reply = world.run(Command::CreateUser(CreateUser { username: name("demo"), spec }));
        assert!(matches!(&reply, Err(Refusal::Invalid(text)) if text.contains(why)), "{reply:?}");
    };
    refused(vec![member("g", Membership::Primary), member("g", Membership::Secondary)], "twice");
    refused(vec![member("g", Membership::Primary), member("h", Membership::Primary)], "primary");
    refused(vec![member("g", Membership::Plain); 9], "more than 8");
}

#[test]
fn mounts_of_a_group_are_canonical_distinct_and_their_quotas_go_together() {
    let mut world = World::new(1);
    create(&mut world, "f", folder_spec("/srv/f"));
    let mount = |virtual_path: &str, quota_size, quota_files| Mount {
        folder: kept("f"),
        virtual_path: virtual_path.into(),
        quota_size,
        quota_files,
    };
    for bad in [mount("x", 0, 0), mount("/", 0, 0), mount("/a/../b", 0, 0), mount("/a", -1, 0), mount("/a", -2, -2)] {
        let spec = GroupSpec { virtual_folders: vec![bad.clone()], ..GroupSpec::default() };
        assert!(matches!(put(&mut world, "g", Expected::Absent, spec), Err(Refusal::Invalid(_))), "{bad:?}");
    }
    let twice = GroupSpec { virtual_folders: vec![mount("/a", 0, 0); 2], ..GroupSpec::default() };
    assert!(matches!(put(&mut world, "g", Expected::Absent, twice), Err(Refusal::Invalid(_))));
    let good = GroupSpec { virtual_folders: vec![mount("/a", -1, -1), mount("/b", 5, 0)], ..GroupSpec::default() };
    create(&mut world, "g", good);
}

#[test]
fn a_login_s_token_belongs_to_the_admin_as_the_password_was_verified() {
    let mut world = World::new(1);
    let revision = create(&mut world, "ann", admin_spec());
    issue(&mut world, revision, 1, LATER).unwrap();
    let token = world.state.token_by_hash(&[1; 32]).expect("the token");
    assert_eq!(token.admin(), Some(&kept("ann")));
    assert!(matches!(issue(&mut world, revision, 1, LATER), Err(Refusal::Invalid(_))), "the same text twice");
    let description = AdminSpec { description: "changed".into(), password_hash: None, ..admin_spec() };
    put(&mut world, "ann", Expected::Present, description).unwrap();
    let row = world.state.kept::<AdminSpec>(&kept("ann")).unwrap().clone();
    assert_eq!(row.spec.password_hash, admin_spec().password_hash, "kept");
    assert!(world.state.token_by_hash(&[1; 32]).is_some(), "a description is no reason");
    assert!(matches!(issue(&mut world, revision, 2, LATER), Err(Refusal::RevisionMismatch { .. })));
}

#[test]
fn a_new_password_or_the_end_of_an_admin_ends_the_logins_and_the_end_the_keys_too() {
    for end in 0..3 {
        let mut world = World::new(1);
        let revision = create(&mut world, "ann", admin_spec());
        issue(&mut world, revision, 1, LATER).unwrap();
        world.run(key("k", Expected::Absent, Some(2), Some("ann"))).unwrap();
        match end {
            0 => put(
                &mut world,
                "ann",
                Expected::Present,
                AdminSpec { password_hash: Some("new".into()), ..admin_spec() },
            ),
            1 => put(&mut world, "ann", Expected::Present, AdminSpec { status: Status::Disabled, ..admin_spec() }),
            _ => delete::<AdminSpec>(&mut world, "ann", None),
        }
        .unwrap();
        assert!(world.state.token_by_hash(&[1; 32]).is_none());
        assert_eq!(world.state.token_by_hash(&[2; 32]).is_some(), end < 2, "an API key is no login");
        invariant::check_all(&world.state).unwrap();
    }
}

#[test]
fn an_admin_holds_a_bounded_number_of_logins_and_the_oldest_make_room() {
    let mut world = World::new(1);
    let revision = create(&mut world, "ann", admin_spec());
    for login in 0..100 {
        issue(&mut world, revision, login, LATER + 1_000 * u64::from(login)).unwrap();
    }
    assert_eq!(world.state.tokens().count(), 64);
    assert!(world.state.token_by_hash(&[35; 32]).is_none() && world.state.token_by_hash(&[36; 32]).is_some());
    // The expired ones go at the next login.
    world.wall = LATER + 90_500;
    issue(&mut world, revision, 200, LATER * 2).unwrap();
    assert_eq!(world.state.tokens().count(), 10, "91 to 99 and the new one");
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn an_api_key_keeps_its_text_is_changed_on_its_revision_and_deleted_once() {
    let mut world = World::new(1);
    assert!(matches!(world.run(key("k", Expected::Absent, Some(1), Some("ann"))), Err(Refusal::Invalid(_))));
    create(&mut world, "ann", admin_spec());
    assert!(matches!(world.run(key("k", Expected::Absent, None, None)), Err(Refusal::Invalid(_))));
    world.run(key("k", Expected::Absent, Some(1), None)).unwrap();
    let made = world.index;
    world.run(key("k", Expected::Revision(made), Some(9), Some("ann"))).unwrap();
    let row = world.state.api_key(&kept("k")).unwrap();
    assert_eq!((row.hash, row.admin()), ([1; 32], Some(&kept("ann"))));
    assert!(matches!(world.run(key("k", Expected::Revision(made), None, None)), Err(Refusal::RevisionMismatch { .. })));
    let delete = |expected_revision| {
        Command::DeleteToken(DeleteToken { name: Token::api_key_name(&kept("k")), expected_revision })
    };
    assert!(matches!(world.run(delete(Some(made))), Err(Refusal::RevisionMismatch { .. })));
    world.run(delete(Some(made + 1))).unwrap();
    assert!(
        matches!(&world.last.events[0].fact, Fact::RecordDeleted { kind: RecordKind::ApiKey, name, .. } if name == "k")
    );
    assert!(matches!(world.run(delete(None)), Err(Refusal::NameNotFound { .. })));
    assert!(matches!(world.run(key("k", Expected::Present, None, None)), Err(Refusal::NameNotFound { .. })));
}

#[test]
fn a_standing_token_cannot_take_the_name_of_another_kind_nor_the_hash_of_another_token() {
    let mut world = World::new(1);
    let put = |name: &str, hash: u8| {
        let permissions = vec!["*".to_owned()];
        Command::PutToken(PutToken { name: name.into(), hash: [hash; 32], permissions, expires_at: 0, replace: true })
    };
    world.run(put("ops", 1)).unwrap();
    world.run(put("ops", 1)).unwrap();
    for (name, hash) in [("key:k", 2), ("login:ann:00", 2), ("other", 1)] {
        assert!(matches!(world.run(put(name, hash)), Err(Refusal::Invalid(_))), "{name}");
    }
}

#[test]
fn events_of_records_tell_what_is_set_and_hold_no_secret() {
    let mut world = World::new(1);
    let revision = create(&mut world, "ann", AdminSpec { description: "a \"b\"\n".into(), ..admin_spec() });
    let [made] = &world.last.events[..] else { panic!("one event") };
    let Fact::RecordCreated { kind: RecordKind::Admin, name, changes } = &made.fact else { panic!("{made:?}") };
    let told: Vec<_> = changes.iter().map(|c| (c.field.as_str(), c.before.as_str(), c.after.as_str())).collect();
    let expected = [
        ("status", "", "1"),
        ("password", "", "\"[redacted]\""),
        ("permissions", "", "[\"*\"]"),
        ("description", "", "\"a \\\"b\\\"\\n\""),
    ];
    assert_eq!((name.as_str(), &told[..]), ("ann", &expected[..]));
    issue(&mut world, revision, 1, LATER).unwrap();
    world.run(key("k", Expected::Absent, Some(2), None)).unwrap();
    delete::<AdminSpec>(&mut world, "ann", None).unwrap();
    let all: Vec<_> = world.state.events_after(0).unwrap().map(|event| format!("{:?}", event.fact)).collect();
    assert!(all.iter().all(|fact| !fact.contains("argon2id") && !fact.contains("0202")), "{all:?}");
}

#[test]
fn a_long_value_is_shown_by_its_beginning() {
    let mut world = World::new(1);
    create(&mut world, "r", RoleSpec { description: "é".repeat(1_000) });
    let Fact::RecordCreated { changes, .. } = &world.last.events[0].fact else { panic!("created") };
    assert!(changes[0].after.len() <= 516 && changes[0].after.ends_with('…'), "{}", changes[0].after.len());
}

#[test]
fn records_come_back_from_a_snapshot() {
    let mut world = World::new(1);
    create(&mut world, "f", folder_spec("/srv/f"));
    create(&mut world, "g", group_spec(&["f"]));
    create(&mut world, "r", RoleSpec::default());
    let revision = create(&mut world, "ann", bound_to("r"));
    issue(&mut world, revision, 1, LATER).unwrap();
    let chunks: Vec<Vec<u8>> = world.state.to_snapshot().collect();
    let restored = State::from_snapshot(&chunks).unwrap();
    assert!(restored == world.state);
    invariant::check_all(&restored).unwrap();
    for missing in 0..chunks.len() {
        let rest = chunks.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, chunk)| chunk);
        assert!(State::from_snapshot(rest).is_err(), "chunk {missing}");
    }
}
