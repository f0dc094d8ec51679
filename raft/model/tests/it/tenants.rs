//! What an admin with a role may do to users: theirs alone, in homes that are their role's own. Decided in apply.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn of(role: Option<&str>, home: &str) -> UserSpec {
    UserSpec { role: role.map(kept), ..spec(home) }
}

fn by_east(world: &mut World, change: UserChange) -> Reply {
    world.run(Command::ChangeOfRole(ChangeOfRole { role: kept("east"), change }))
}

fn create(world: &mut World, username: &str, spec: UserSpec) -> Reply {
    by_east(world, UserChange::Create(CreateUser { username: name(username), spec }))
}

fn move_to(world: &mut World, username: &str, home: &str) -> Reply {
    let patch = UserPatch { home: Some(root(home)), ..UserPatch::default() };
    let update = UpdateUser { username: name(username), expected_revision: None, patch };
    by_east(world, UserChange::Update(update))
}

/// Two tenants, and users of nobody. `acme` is what was given to the east.
fn tenants() -> World {
    let mut world = World::new(1);
    for role in ["east", "west"] {
        let put = Put { name: kept(role), expected: Expected::Absent, spec: RoleSpec::default() };
        world.run(Command::PutRole(put)).unwrap();
    }
    world.create("e", of(Some("east"), "acme"));
    world.create("w", of(Some("west"), "deep/west/home"));
    world.create("n", of(None, "none"));
    world.create("mixed-e", of(Some("east"), "mixed"));
    world.create("mixed-n", of(None, "mixed"));
    world
}

#[test]
fn a_home_is_the_roles_own_or_refused() {
    let homes = [
        ("acme", true),
        ("acme/x", true),
        ("acme/x/y", true),
        ("new", true),
        // Of others, above them, inside them.
        ("", false),
        ("deep", false),
        ("deep/west", false),
        ("deep/west/home", false),
        ("deep/west/home/x", false),
        ("none", false),
        ("none/x", false),
        ("mixed", false),
        ("mixed/x", false),
        // Of nobody, and not the folder of the user's name either.
        ("other", false),
        ("deep/east", false),
        ("deep/new", false),
        ("acmes", false),
    ];
    for (home, may) in homes {
        let judged = |reply: Reply| match reply {
            Ok(_) => true,
            Err(Refusal::HomeOfOthers { .. }) => false,
            other => panic!("{home}: {other:?}"),
        };
        let mut world = tenants();
        assert_eq!(judged(create(&mut world, "new", of(Some("east"), home))), may, "{home:?} made");
        let mut world = tenants();
        world.create("new", of(Some("east"), "acme/old"));
        assert_eq!(judged(move_to(&mut world, "new", home)), may, "{home:?} moved to");
        let replace = ReplaceUser {
            username: name("new"),
            expected_revision: None,
            spec: of(Some("east"), home),
            keep_password: true,
        };
        let mut world = tenants();
        world.create("new", of(Some("east"), "acme/old"));
        assert_eq!(judged(by_east(&mut world, UserChange::Replace(replace))), may, "{home:?} replaced");
        invariant::check_all(&world.state).unwrap();
    }
}

#[test]
fn a_folder_of_the_users_name_is_refused_once_others_live_in_it_or_above() {
    let mut world = tenants();
    world.create("other", of(None, "new/inside"));
    assert!(matches!(create(&mut world, "new", of(Some("east"), "new")), Err(Refusal::HomeOfOthers { .. })));
    let mut world = tenants();
    world.create("whole", of(None, ""));
    assert!(matches!(create(&mut world, "new", of(Some("east"), "new")), Err(Refusal::HomeOfOthers { .. })));
    assert!(matches!(create(&mut world, "new", of(Some("east"), "acme/new")), Err(Refusal::HomeOfOthers { .. })));
}

#[test]
fn who_lives_with_others_already_may_stay_and_be_changed() {
    let mut world = tenants();
    assert!(move_to(&mut world, "mixed-e", "mixed").is_ok());
    let patch = UserPatch { description: Some("d".into()), ..UserPatch::default() };
    let update = UpdateUser { username: name("mixed-e"), expected_revision: None, patch };
    assert!(by_east(&mut world, UserChange::Update(update)).is_ok());
    // What the role owns ends with its last user there.
    world.update("mixed-n", UserPatch { home: Some(root("elsewhere")), ..UserPatch::default() }).unwrap();
    assert!(create(&mut world, "x", of(Some("east"), "mixed/x")).is_ok());
    world.update("e", UserPatch { role: Some(Some(kept("west"))), ..UserPatch::default() }).unwrap();
    assert!(matches!(create(&mut world, "y", of(Some("east"), "acme/y")), Err(Refusal::HomeOfOthers { .. })));
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn users_of_other_roles_are_not_there_and_none_is_given_away() {
    let mut world = tenants();
    let missing = |user: &str| Err(Refusal::UserNotFound { username: name(user) });
    for user in ["w", "n", "nobody"] {
        assert_eq!(move_to(&mut world, user, "acme"), missing(user));
        let delete = DeleteUser { username: name(user), expected_revision: None };
        assert_eq!(by_east(&mut world, UserChange::Delete(delete)), missing(user));
        let replace = ReplaceUser {
            username: name(user),
            expected_revision: None,
            spec: of(Some("east"), "acme"),
            keep_password: true,
        };
        assert_eq!(by_east(&mut world, UserChange::Replace(replace)), missing(user));
    }
    let taken = Err(Refusal::UserExists { username: name("w") });
    assert_eq!(create(&mut world, "w", of(Some("east"), "acme")), taken);
    for role in [None, Some("west")] {
        assert!(matches!(create(&mut world, "new", of(role, "new")), Err(Refusal::Invalid(_))));
        let patch = UserPatch { role: Some(role.map(kept)), ..UserPatch::default() };
        let update = UpdateUser { username: name("e"), expected_revision: None, patch };
        assert!(matches!(by_east(&mut world, UserChange::Update(update)), Err(Refusal::Invalid(_))));
    }
    let delete = DeleteUser { username: name("e"), expected_revision: None };
    assert!(by_east(&mut world, UserChange::Delete(delete)).is_ok());
}

#[test]
fn more_homes_inside_than_can_be_looked_at_are_refused() {
    let mut world = tenants();
    for at in 0..2_001 {
        world.create(&format!("u{at}"), of(Some("east"), &format!("new/{at}")));
    }
    assert!(matches!(create(&mut world, "new", of(Some("east"), "new")), Err(Refusal::HomeOfOthers { .. })));
    world.update("u0", UserPatch { home: Some(root("away")), ..UserPatch::default() }).unwrap();
    assert!(create(&mut world, "new", of(Some("east"), "new")).is_ok());
}
