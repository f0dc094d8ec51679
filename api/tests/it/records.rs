//! Groups, folders and roles: made over one interface, read over the other; dumped and loaded.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};
use tonic::Code;

use crate::fixture::Server;

impl Server {
    async fn make(&self, path: &str, body: Value) -> Value {
        let made = self.send(Method::POST, path, &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{path}: {}", made.text);
        made.json()
    }
}

#[tokio::test]
async fn a_folder_a_group_and_a_role_made_over_rest_read_the_same_over_grpc() {
    let server = Server::start().await;
    server.make("/folders", json!({"name": "f", "mapped_path": "/srv/f", "description": "d"})).await;
    let group = json!({
        "name": "g", "description": "d",
        "user_settings": {
            "max_sessions": 2, "quota_size": 1_u64 << 40, "permissions": {"/": ["list"]},
            "filters": {"denied_ip": ["10.0.0.0/8"], "hooks": {}}, "filesystem": {"provider": 0},
        },
        "virtual_folders": [{"name": "f", "virtual_path": "/shared", "quota_size": -1, "quota_files": -1}],
    });
    let made = server.make("/groups", group).await;
    assert_eq!(made["virtual_folders"][0]["mapped_path"], "/srv/f", "the folder's own fields are shown");
    server.make("/roles", json!({"name": "r", "description": "d"})).await;
    let user = json!({
        "username": "u", "permissions": {"/": ["*"]}, "role": "r", "groups": [{"name": "g", "type": 1}],
    });
    let user = server.make("/users", user).await;
    assert_eq!((&user["role"], &user["groups"]), (&json!("r"), &json!([{"name": "g", "type": 1}])));

    let request = v1::GetGroupRequest { name: "g".into(), consistency: 0 };
    let group = server.groups().get_group(request).await.expect("read").into_inner().group.expect("the record");
    let settings = group.user_settings.expect("settings");
    assert_eq!((settings.max_sessions, settings.quota_size), (2, 1_u64 << 40));
    assert_eq!(settings.permissions["/"].names, ["list"]);
    assert_eq!(settings.filters.expect("filters").denied_ip, ["10.0.0.0/8"]);
    assert_eq!((group.virtual_folders[0].virtual_path.as_str(), group.virtual_folders[0].quota_files), ("/shared", -1));
    assert_eq!((group.users, json!(group.revision)), (vec!["u".to_owned()], made["revision"].clone()));
    let request = v1::GetFolderRequest { name: "f".into(), consistency: 0 };
    let folder = server.folders().get_folder(request).await.expect("read").into_inner().folder.expect("the record");
    assert_eq!((folder.mapped_path.as_str(), folder.groups), ("/srv/f", vec!["g".to_owned()]));
    let request = v1::GetRoleRequest { name: "r".into(), consistency: 0 };
    let role = server.roles().get_role(request).await.expect("read").into_inner().role.expect("the record");
    assert_eq!((role.description.as_str(), role.users), ("d", vec!["u".to_owned()]));
    let request = v1::GetUserRequest { username: "u".into(), consistency: 0 };
    let user = server.users().get_user(request).await.expect("read").into_inner().user.expect("the record");
    assert_eq!((user.role.as_str(), user.groups[0].name.as_str(), user.groups[0].r#type), ("r", "g", 1));
}

#[tokio::test]
async fn what_was_read_can_be_sent_back_and_changes_nothing() {
    let server = Server::start().await;
    server.make("/folders", json!({"name": "f", "mapped_path": "/srv/f"})).await;
    let mount = json!([{"name": "f", "virtual_path": "/f"}]);
    server.make("/groups", json!({"name": "g", "virtual_folders": mount})).await;
    server.make("/roles", json!({"name": "r"})).await;
    server.make("/admins", json!({"username": "a", "permissions": ["*"]})).await;
    let user = json!({"username": "u", "permissions": {"/": ["*"]}, "groups": [{"name": "g", "type": 2}], "role": "r"});
    server.make("/users", user).await;
    for path in ["/folders/f", "/groups/g", "/roles/r", "/admins/a", "/users/u"] {
        let read = server.get(path).await;
        let put = server.send(Method::PUT, path, &read.json()).await;
        assert_eq!(put.status, StatusCode::OK, "{path}: {}", put.text);
        assert_eq!(server.get(path).await.header("etag"), read.header("etag"), "{path}");
    }
}

#[tokio::test]
async fn a_record_made_over_grpc_is_changed_by_its_mask_and_revision_and_deleted_over_rest() {
    let server = Server::start().await;
    let folder = v1::Folder { name: "f".into(), mapped_path: "/srv/f".into(), ..Default::default() };
    let request = v1::CreateFolderRequest { folder: Some(folder.clone()), ..Default::default() };
    let made = server.folders().create_folder(request.clone()).await.expect("made").into_inner();
    let revision = made.folder.expect("the record").revision;
    assert_eq!(server.folders().create_folder(request).await.expect_err("taken").code(), Code::AlreadyExists);
    let update = |description: &str, expected_revision: Option<u64>, paths: &[&str]| v1::UpdateFolderRequest {
        folder: Some(v1::Folder { name: "f".into(), description: description.into(), ..Default::default() }),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        expected_revision,
        ..Default::default()
    };
    let folders = || server.folders();
    folders().update_folder(update("new", Some(revision), &["description"])).await.expect("changed");
    let read = server.get("/folders/f").await;
    assert_eq!((&read.json()["description"], &read.json()["mapped_path"]), (&json!("new"), &json!("/srv/f")));
    let stale = folders().update_folder(update("newer", Some(revision), &["description"])).await;
    assert_eq!(stale.expect_err("stale").code(), Code::Aborted);
    folders().update_folder(update("newer", None, &["description"])).await.expect("unconditional");
    for paths in [&[][..], &["name"], &["revision"]] {
        let refused = folders().update_folder(update("x", None, paths)).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{paths:?}");
    }
    let old = [("if-match", read.header("etag"))];
    let refused = server.call(Method::DELETE, "/folders/f", &old, Body::empty()).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
    let deleted = server.call(Method::DELETE, "/folders/f", &[], Body::empty()).await;
    assert_eq!((deleted.status, &deleted.json()["message"]), (StatusCode::OK, &json!("Folder deleted")));
    let request = v1::GetFolderRequest { name: "f".into(), consistency: 0 };
    assert_eq!(folders().get_folder(request).await.expect_err("gone").code(), Code::NotFound);
}

#[tokio::test]
async fn lists_are_paged_alike() {
    let server = Server::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        server.make("/roles", json!({"name": name})).await;
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = Some(v1::Page { size: 2, token, consistency: 0 });
        let page = server.roles().list_roles(v1::ListRolesRequest { page }).await.expect("a page").into_inner();
        names.extend(page.roles.into_iter().map(|role| role.name));
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let rest = server.get("/roles?limit=2&offset=1&order=DESC").await.json();
    assert_eq!((&rest[0]["name"], &rest[1]["name"]), (&json!("d"), &json!("c")));
    for bad in ["/roles?order=UP", "/roles?limit=x", "/roles?offset=-1", "/users?limit=x"] {
        let answer = server.get(bad).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (StatusCode::BAD_REQUEST, Some("invalid")),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_record_that_is_named_stays_and_a_bad_field_is_named() {
    let server = Server::start().await;
    server.make("/folders", json!({"name": "f", "mapped_path": "/srv/f"})).await;
    server.make("/groups", json!({"name": "g", "virtual_folders": [{"name": "f", "virtual_path": "/f"}]})).await;
    let refused = server.call(Method::DELETE, "/folders/f", &[], Body::empty()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.json()["message"].as_str().expect("a text").contains("group g"), "{}", refused.text);
    let bad = [
        ("/folders", json!({"name": "x", "mapped_path": "relative"}), "mapped_path"),
        ("/folders", json!({"name": "x", "mapped_path": "/a/../b"}), "mapped_path"),
        ("/folders", json!({"name": "x", "mapped_path": "/a", "filesystem": {"provider": 1}}), "filesystem.provider"),
        ("/groups", json!({"name": "x", "user_settings": {"max_sessions": "2"}}), "user_settings.max_sessions"),
        ("/groups", json!({"name": "x", "user_settings": {"filters": {"is_anonymous": true}}}), "is_anonymous"),
        ("/groups", json!({"name": "x", "virtual_folders": [{"name": "none", "virtual_path": "/n"}]}), "none"),
        ("/groups", json!({"name": "x", "nothing": 1}), "nothing"),
        ("/roles", json!({"name": "a/b"}), "name"),
        ("/roles", json!({"name": "x", "description": 5}), "description"),
    ];
    for (path, body, named) in bad {
        let answer = server.send(Method::POST, path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {named}: {}", answer.text);
        assert!(answer.json()["message"].as_str().expect("a text").contains(named), "{named}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_dump_loads_into_another_cluster_with_its_passwords() {
    let server = Server::start().await;
    server.make("/folders", json!({"name": "f", "mapped_path": "/srv/f"})).await;
    server.make("/groups", json!({"name": "g", "virtual_folders": [{"name": "f", "virtual_path": "/f"}]})).await;
    server.make("/roles", json!({"name": "r"})).await;
    server
        .make("/admins", json!({"username": "a", "permissions": ["view_users"], "role": "r", "password": "pw"}))
        .await;
    for number in 0..600 {
        let name = format!("u{number:03}");
        let user = json!({"username": name, "permissions": {"/": ["*"]}, "groups": [{"name": "g", "type": 1}]});
        server.make("/users", user).await;
    }
    let password = json!({"permissions": {"/": ["*"]}, "password": "pw"});
    server.send(Method::PUT, "/users/u599", &password).await;
    let dump = server.get("/dumpdata?output-data=1").await;
    assert_eq!(dump.status, StatusCode::OK);
    let body = dump.json();
    assert_eq!((body["users"].as_array().map(Vec::len), &body["version"]), (Some(600), &json!(17)));
    assert!(body["users"][599]["password"].as_str().expect("a hash").starts_with("$argon2id$"));
    let part = server.get("/dumpdata?output-data=1&scopes=roles").await.json();
    assert_eq!((part["users"].as_array().map(Vec::len), part["roles"].as_array().map(Vec::len)), (Some(0), Some(1)));

    let other = Server::start().await;
    let loaded = other.call(Method::POST, "/loaddata", &[], dump.text.clone()).await;
    assert_eq!(
        (loaded.status, &loaded.json()["message"]),
        (StatusCode::OK, &json!("Data restored")),
        "{}",
        loaded.text
    );
    let mut again = other.get("/dumpdata?output-data=1").await.json();
    let mut body = body;
    for body in [&mut again, &mut body] {
        for section in ["users", "groups", "folders", "admins", "roles"] {
            for row in body[section].as_array_mut().expect("a list") {
                for made in ["id", "revision", "created_at", "updated_at"] {
                    row.as_object_mut().expect("an object").remove(made);
                }
                for mount in row["virtual_folders"].as_array_mut().into_iter().flatten() {
                    for made in ["id", "revision", "created_at", "updated_at"] {
                        mount.as_object_mut().expect("an object").remove(made);
                    }
                }
            }
        }
    }
    for (at, (there, here)) in
        again["users"].as_array().expect("a list").iter().zip(body["users"].as_array().expect("a list")).enumerate()
    {
        assert_eq!(there, here, "user {at}");
    }
    for section in ["groups", "folders", "admins", "roles"] {
        assert_eq!(again[section], body[section], "{section}");
    }
}

#[tokio::test]
async fn a_dump_is_checked_as_a_whole_before_anything_of_it_is_loaded() {
    let server = Server::start().await;
    let good = json!({"username": "good", "permissions": {"/": ["*"]}});
    let bad = [
        (json!({"users": [good, {"username": "bad"}]}), "users[1]"),
        (json!({"users": [good], "admins": [{"username": "x", "permissions": []}]}), "admins[0]"),
        (json!({"users": [good], "shares": [{"id": "x"}]}), "shares"),
        (json!({"users": [good], "version": 99}), "version"),
        (json!({"users": [good], "nothing": []}), "nothing"),
        (json!({"users": {}}), "users"),
        (json!([]), "body"),
    ];
    for (body, named) in bad {
        let answer = server.send(Method::POST, "/loaddata", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{named}: {}", answer.text);
        assert!(answer.json()["message"].as_str().expect("a text").contains(named), "{named}: {}", answer.text);
    }
    assert_eq!(server.get("/users").await.json(), json!([]), "nothing of it");
    let huge = format!("{{\"users\":\"{}\"}}", "x".repeat(21 << 20));
    let answer = server.call(Method::POST, "/loaddata", &[], huge).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    for path in ["/dumpdata", "/dumpdata?output-file=x", "/loaddata?input-file=x"] {
        let method = if path.starts_with("/dump") { Method::GET } else { Method::POST };
        assert_eq!(server.call(method, path, &[], Body::empty()).await.status, StatusCode::NOT_IMPLEMENTED, "{path}");
    }
}

#[tokio::test]
async fn loading_adds_only_or_replaces_as_it_is_told() {
    let server = Server::start().await;
    server.add("u").await;
    let session = server.log_in("u");
    let dump = json!({"users": [{"username": "u", "permissions": {"/": ["*"]}, "description": "new"}]});
    server.send(Method::POST, "/loaddata?mode=1", &dump).await;
    assert_eq!(server.get("/users/u").await.json()["description"], Value::Null, "left alone");
    server.send(Method::POST, "/loaddata?mode=0", &dump).await;
    assert_eq!(server.get("/users/u").await.json()["description"], "new");
    assert_eq!(server.get("/connections").await.json()[0]["closing"], false);
    server.send(Method::POST, "/loaddata?mode=2", &dump).await;
    let row = server.get("/connections").await.json()[0].clone();
    assert_eq!((&row["connection_id"], &row["closing"]), (&json!(session.to_string()), &json!(true)));
    assert_eq!(server.send(Method::POST, "/loaddata?mode=7", &dump).await.status, StatusCode::BAD_REQUEST);
}
