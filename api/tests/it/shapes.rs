//! The JSON that SFTPGo's clients read (`reference/sftpgo.md` 2) and the exact shapes of `DESIGN.md` 5.

use axum::http::{Method, StatusCode};
use flotilla_cluster::ActiveTransfer;
use flotilla_model::SessionId;
use serde_json::{Value, json};

use crate::fixture::Server;

#[tokio::test]
async fn a_user_has_sftpgos_fields_and_all_file_system_objects() {
    let server = Server::start().await;
    let body = json!({"username": "alice", "password": "x", "permissions": {"/": ["*"]}});
    let made = server.send(Method::POST, "/users", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.header("location"), "/api/v2/users/alice");
    let mut user = made.json();
    for changing in ["id", "revision", "created_at", "updated_at"] {
        assert!(user[changing].as_u64().is_some_and(|number| number > 0), "{changing}");
        user.as_object_mut().expect("an object").remove(changing);
    }
    let filesystem: Value = json!({
        "provider": 0, "osconfig": {}, "s3config": {}, "gcsconfig": {}, "azblobconfig": {}, "cryptconfig": {},
        "sftpconfig": {}, "httpconfig": {},
    });
    let hooks = json!({"external_auth_disabled": false, "pre_login_disabled": false, "check_password_disabled": false});
    let expected = json!({
        "status": 1, "username": "alice", "expiration_date": 0, "has_password": true, "home_dir": "/srv/files/alice",
        "uid": 0, "gid": 0, "max_sessions": 0, "quota_size": 0, "quota_files": 0, "permissions": {"/": ["*"]},
        "used_quota_size": 0, "used_quota_files": 0, "upload_bandwidth": 0, "download_bandwidth": 0,
        "upload_data_transfer": 0, "download_data_transfer": 0, "total_data_transfer": 0,
        "filters": {"hooks": hooks, "totp_config": {"enabled": false}}, "filesystem": filesystem,
    });
    assert_eq!(user, expected);
    assert!(!made.text.contains("argon2"), "a hash is never shown");
}

#[tokio::test]
async fn what_sftpgos_clients_send_for_things_not_set_is_taken() {
    let server = Server::start().await;
    let body = json!({
        "id": 0, "status": 1, "username": "bob", "password": "x", "public_keys": null, "home_dir": "",
        "permissions": {"/": ["*"]}, "virtual_folders": [], "groups": null, "role": "", "last_login": 0,
        "filters": {
            "allowed_ip": [], "denied_protocols": null, "file_patterns": [], "tls_username": "None",
            "web_client": [], "access_time": null, "2fa_protocols": [], "data_transfer_limits": [], "is_anonymous": false, "ftp_security": 0,
            "hooks": {"external_auth_disabled": false}, "totp_config": {"secret": {}},
        },
        "filesystem": {"provider": 0, "s3config": {"access_secret": {}}},
    });
    let made = server.send(Method::POST, "/users", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}

#[tokio::test]
async fn a_setting_without_effect_is_refused_by_name() {
    let server = Server::start().await;
    let cases = [
        (json!({"filters": {"file_patterns": [{"path": "/"}]}}), "filters.file_patterns"),
        (json!({"filters": {"is_anonymous": true}}), "filters.is_anonymous"),
        (json!({"virtual_folders": [{"name": "x"}]}), "virtual_folders"),
        (json!({"total_data_transfer": 5}), "total_data_transfer"),
        (json!({"filesystem": {"provider": 1}}), "filesystem.provider"),
        (json!({"filesystem": {"provider": "0"}}), "filesystem.provider"),
    ];
    for (extra, named) in cases {
        let mut body = json!({"username": "carol", "permissions": {"/": ["*"]}});
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        let answer = server.send(Method::POST, "/users", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{named}");
        assert!(answer.json()["message"].as_str().expect("a text").starts_with(named), "{}", answer.text);
    }
    assert_eq!(server.get("/users/carol").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn connections_have_sftpgos_fields() {
    let server = Server::start().await;
    server.add("dave").await;
    let session = server.log_in("dave");
    let rows = server.get("/connections").await.json();
    let row = &rows[0];
    assert_eq!(row["username"], "dave");
    assert_eq!(row["connection_id"], session.to_string());
    assert_eq!(row["remote_address"], "192.0.2.7:50000");
    assert_eq!(row["protocol"], "SFTP");
    assert_eq!(row["node"], "1");
    for time in ["connection_time", "last_activity", "current_time"] {
        assert!(row[time].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{time}: {row}");
    }
}

#[tokio::test]
async fn a_connection_shows_its_own_transfers_and_says_when_its_node_does_not_tell() {
    let server = Server::start().await;
    server.add("erin").await;
    let (busy, idle) = (server.log_in("erin"), server.log_in("erin"));
    let upload = ActiveTransfer { session: busy, upload: true, started_at: 7, size: 4096, path: "/in/a.bin".into() };
    let download = ActiveTransfer { session: busy, upload: false, started_at: 8, size: 1, path: "/b".into() };
    *server.cluster.transfers.lock().expect("no panic") = Some(vec![upload, download]);
    let row = async |session: SessionId| {
        let rows = server.get("/connections").await.json();
        let rows = rows.as_array().expect("a list").clone();
        rows.into_iter().find(|row| row["connection_id"] == session.to_string()).expect("the session")
    };
    let expected = json!([
        {"operation_type": "upload", "start_time": 7, "size": 4096, "path": "/in/a.bin"},
        {"operation_type": "download", "start_time": 8, "size": 1, "path": "/b"},
    ]);
    assert_eq!(row(busy).await["active_transfers"], expected);
    assert!(row(idle).await.get("active_transfers").is_none());
    *server.cluster.transfers.lock().expect("no panic") = None;
    assert_eq!(row(busy).await["transfers_unknown"], true);
}

#[tokio::test]
async fn the_cluster_has_the_shape_of_the_design() {
    let server = Server::start().await;
    let answer = server.get("/cluster").await;
    let index = answer.header("flotilla-log-index").parse::<u64>().expect("a number");
    let mut shown = answer.json();
    let hash = shown.as_object_mut().expect("an object").remove("state_hash").expect("a hash");
    assert_eq!(hash.as_str().map(str::len), Some(64), "beside the design's fields: {hash}");
    let expected = json!({
        "cluster_id": "local", "applied_index": index, "leader": 1, "term": 1, "log_index": index,
        "nodes": [{
            "id": 1, "name": "node1", "role": "leader", "state": "alive", "address": "127.0.0.1:7982",
            "applied_index": index,
        }],
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn version_and_status_answer_what_is_so() {
    let server = Server::start().await;
    assert_eq!(server.get("/version").await.json()["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.get("/status").await.json()["data_provider"]["is_active"], true);
}
