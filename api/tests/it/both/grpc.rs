//! Every verb as a gRPC call.
#![allow(clippy::needless_update, reason = "what a message holds besides differs by kind")]

use flotilla_api::access::{Act, Verb};
use flotilla_model::RecordKind;
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::{Request, Status};

use super::{AFTER, LOGIN, SECRET, THERE, basic};
use crate::fixture::Server;

/// What REST calls `status`.
fn status(status: i32) -> i32 {
    status - 1
}

fn mask(fields: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: fields.iter().map(|field| (*field).to_owned()).collect() })
}

fn done(result: Option<v1::ChangeResult>) -> Value {
    let result = result.expect("a result");
    json!({"log_index": result.log_index, "unconfirmed": result.unconfirmed_nodes})
}

fn with<T>(message: T, credential: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", credential.parse().expect("ASCII"));
    request
}

/// The fields of a row that both interfaces show under one name.
macro_rules! row {
    ($row:expr; $($field:ident),*) => { json!({ $(stringify!($field): $row.$field),* }) };
}

fn user(user: &v1::User) -> Value {
    let mut row = row!(user; username, home_dir, description, email, max_sessions, quota_size, revision, created_at);
    row["status"] = status(user.status).into();
    row
}

fn session(row: &v1::Session) -> Value {
    json!({
        "connection_id": row.id, "username": row.username, "remote_address": row.remote_address,
        "protocol": row.protocol, "login_method": row.login_method, "slots": row.slots,
        "connection_time": row.opened_at, "node": row.node.to_string(),
    })
}

fn event(row: &v1::Event) -> Value {
    let change = |change: &v1::FieldChange| row!(change; field, before, after);
    let mut event =
        row!(row; number, log_index, timestamp, kind, actor, source, object_type, object_name, details, resume_token);
    event["changes"] = row.changes.iter().map(change).collect();
    event["hash"] = row.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    event
}

/// The answer in REST's words; `None`: gRPC has no such verb.
/// `once`: its request id, or none.
pub async fn say(server: &Server, verb: Verb, name: &str, id: &str, once: &str) -> Option<Result<Value, Status>> {
    use Verb::*;
    let named = || name.to_owned();
    let hash = || Sha256::digest("another text").to_vec();
    let changed = || v1::User { username: named(), description: AFTER.into(), ..crate::fixture::user(name) };
    let answer = match verb {
        Record(act, kind) => return record(server, act, kind, name, once).await,
        CreateUser => {
            let request = v1::CreateUserRequest {
                user: Some(changed()),
                password: Some(SECRET.into()),
                request_id: once.into(),
                ..Default::default()
            };
            server.users().create_user(request).await.map(|answer| done(answer.into_inner().result))
        }
        GetUser => {
            let answer = server.users().get_user(v1::GetUserRequest { username: named(), consistency: 0 }).await;
            answer.map(|answer| user(&answer.into_inner().user.expect("a user")))
        }
        ListUsers => {
            let answer = server.users().list_users(v1::ListUsersRequest::default()).await;
            answer.map(|answer| answer.into_inner().users.iter().map(user).collect())
        }
        UpdateUser => {
            let request = v1::UpdateUserRequest {
                user: Some(changed()),
                password: Some(SECRET.into()),
                update_mask: mask(&["description", "password"]),
                request_id: once.into(),
                ..Default::default()
            };
            server.users().update_user(request).await.map(|answer| done(answer.into_inner().result))
        }
        DeleteUser => {
            let request = v1::DeleteUserRequest { username: named(), request_id: once.into(), ..Default::default() };
            server.users().delete_user(request).await.map(|answer| done(answer.into_inner().result))
        }
        ListSessions => {
            let answer = server.sessions().list_sessions(v1::ListSessionsRequest::default()).await;
            answer.map(|answer| answer.into_inner().sessions.iter().map(session).collect())
        }
        KillSession => {
            let request = v1::KillSessionRequest { id: id.to_owned(), request_id: once.into(), ..Default::default() };
            server.sessions().kill_session(request).await.map(|answer| done(answer.into_inner().result))
        }
        GetQuota => {
            let answer = server.quotas().get_quota(v1::GetQuotaRequest { username: named(), consistency: 0 }).await;
            answer.map(|answer| answer.into_inner().quota.expect("a quota").username.into())
        }
        ScanQuota => {
            let request = v1::ScanQuotaRequest { username: named(), request_id: once.into(), ..Default::default() };
            server.quotas().scan_quota(request).await.map(|answer| done(answer.into_inner().result))
        }
        ListScans => {
            let answer = server.quotas().list_scans(v1::ListScansRequest {}).await;
            let shown = |row: &v1::Quota| json!({"username": row.username, "start_time": row.scan_wanted_at, "waits_for": row.scan_waits_for});
            answer.map(|answer| answer.into_inner().quotas.iter().map(shown).collect())
        }
        GetStatus => server.status().get_status(v1::GetStatusRequest {}).await.map(|answer| {
            let answer = answer.into_inner();
            let mut shown = row!(answer; cluster_id, leader, term, log_index, applied_index);
            let node = |node: &v1::NodeStatus| row!(node; id, name, role, state, address, applied_index);
            shown["nodes"] = answer.nodes.iter().map(node).collect();
            shown
        }),
        ReadEvents => {
            let answer = server.events().list_events(v1::ListEventsRequest::default()).await;
            answer.map(|answer| {
                let answer = answer.into_inner();
                let mut shown = row!(answer; resume_token, compacted_through, last);
                shown["events"] = answer.events.iter().map(event).collect();
                shown
            })
        }
        Look => {
            let answer = server.status().ping(v1::PingRequest {}).await;
            answer.map(|answer| json!({"version": answer.into_inner().version}))
        }
        Login => {
            let mut tokens = v1::tokens_client::TokensClient::new(server.channel.clone());
            let request = v1::LoginRequest { hash: hash(), request_id: once.into(), ..Default::default() };
            tokens.login(with(request, &basic(name))).await.map(|answer| done(answer.into_inner().result))
        }
        Logout => {
            let mut tokens = v1::tokens_client::TokensClient::new(server.channel.clone());
            let bearer = if name == THERE { LOGIN } else { crate::fixture::ROOT };
            let request = with(v1::LogoutRequest { request_id: once.into() }, &format!("Bearer {bearer}"));
            tokens.logout(request).await.map(|answer| done(answer.into_inner().result))
        }
        CreateToken => {
            let token = v1::Token { name: named(), permissions: vec!["view_users".into()], ..Default::default() };
            let request = v1::CreateTokenRequest {
                token: Some(token),
                hash: hash(),
                request_id: once.into(),
                ..Default::default()
            };
            server.tokens().create_token(request).await.map(|answer| done(answer.into_inner().result))
        }
        ListTokens => {
            let answer = server.tokens().list_tokens(v1::ListTokensRequest {}).await;
            answer.map(|answer| answer.into_inner().tokens.len().into())
        }
        DeleteToken => {
            let request = v1::DeleteTokenRequest { name: named(), request_id: once.into(), ..Default::default() };
            server.tokens().delete_token(request).await.map(|answer| done(answer.into_inner().result))
        }
        SaveBackup => server.backups().save_backup(v1::SaveBackupRequest {}).await.map(|_| Value::Null),
        CreateJoinToken => {
            let request = v1::CreateJoinTokenRequest {
                hash: hash(),
                life_seconds: 60,
                request_id: once.into(),
                ..Default::default()
            };
            server.membership().create_join_token(request).await.map(|answer| done(answer.into_inner().result))
        }
        TransferLeadership => {
            let asked = server.membership().transfer_leadership(v1::TransferLeadershipRequest { node: 0 }).await;
            asked.map(|answer| answer.into_inner().leader.into())
        }
        DrainNode => server.membership().drain_node(v1::DrainNodeRequest { node: 1 }).await.map(|_| Value::Null),
        RemoveNode => {
            let request = v1::RemoveNodeRequest { node: 2, request_id: once.into(), ..Default::default() };
            server.membership().remove_node(request).await.map(|answer| done(answer.into_inner().result))
        }
        ListHostKeys => {
            let answer = server.membership().list_host_keys(v1::ListHostKeysRequest {}).await;
            answer.map(|answer| answer.into_inner().host_keys.len().into())
        }
        RotateHostKeys => {
            let answer =
                server.membership().rotate_host_keys(v1::RotateHostKeysRequest { request_id: once.into() }).await;
            answer.map(|answer| done(answer.into_inner().result))
        }
        Dump | Load => return None,
    };
    Some(answer)
}

/// The five calls of a kind of record.
macro_rules! five {
    ($server:ident, $act:ident, $name:ident, $once:ident, $client:ident, $record:expr, $field:ident, $key:ident, $show:expr;
     $create:ident $Create:ident, $get:ident $Get:ident, $list:ident $List:ident $rows:ident,
     $update:ident $Update:ident, $delete:ident $Delete:ident; $($more:ident: $value:expr),*) => {
        match $act {
            Act::Create => {
                let request =
                    v1::$Create { $field: Some($record), request_id: $once.into(), $($more: $value,)* ..Default::default() };
                $server.$client().$create(request).await.map(|answer| done(answer.into_inner().result))
            }
            Act::Get => {
                let answer = $server.$client().$get(v1::$Get { $key: $name.to_owned(), consistency: 0 }).await;
                answer.map(|answer| $show(&answer.into_inner().$field.expect("a record")))
            }
            Act::List => {
                let answer = $server.$client().$list(v1::$List::default()).await;
                answer.map(|answer| answer.into_inner().$rows.iter().map($show).collect())
            }
            Act::Update => {
                let update_mask = mask(&["description"]);
                let request = v1::$Update { $field: Some($record), update_mask, request_id: $once.into(), ..Default::default() };
                $server.$client().$update(request).await.map(|answer| done(answer.into_inner().result))
            }
            Act::Delete => {
                let request = v1::$Delete { $key: $name.to_owned(), request_id: $once.into(), ..Default::default() };
                $server.$client().$delete(request).await.map(|answer| done(answer.into_inner().result))
            }
        }
    };
}

async fn record(server: &Server, act: Act, kind: RecordKind, name: &str, once: &str) -> Option<Result<Value, Status>> {
    let (named, description) = (|| name.to_owned(), || AFTER.to_owned());
    Some(match kind {
        RecordKind::Admin => {
            let permissions = || vec!["view_users".to_owned()];
            let record = v1::Admin {
                username: named(),
                description: description(),
                permissions: permissions(),
                ..Default::default()
            };
            let show = |row: &v1::Admin| {
                let mut shown = row!(row; username, permissions, description, email, role, revision, created_at);
                shown["status"] = status(row.status).into();
                shown
            };
            five!(server, act, name, once, admins, record, admin, username, show;
                create_admin CreateAdminRequest, get_admin GetAdminRequest, list_admins ListAdminsRequest admins,
                update_admin UpdateAdminRequest, delete_admin DeleteAdminRequest;)
        }
        RecordKind::Group => {
            let record = v1::Group { name: named(), description: description(), ..Default::default() };
            let show = |row: &v1::Group| row!(row; name, description, revision, created_at, users);
            five!(server, act, name, once, groups, record, group, name, show;
                create_group CreateGroupRequest, get_group GetGroupRequest, list_groups ListGroupsRequest groups,
                update_group UpdateGroupRequest, delete_group DeleteGroupRequest;)
        }
        RecordKind::Folder => {
            let record = v1::Folder {
                name: named(),
                description: description(),
                mapped_path: "/srv/f".into(),
                ..Default::default()
            };
            let show = |row: &v1::Folder| row!(row; name, mapped_path, description, revision, created_at, groups);
            five!(server, act, name, once, folders, record, folder, name, show;
                create_folder CreateFolderRequest, get_folder GetFolderRequest, list_folders ListFoldersRequest folders,
                update_folder UpdateFolderRequest, delete_folder DeleteFolderRequest;)
        }
        RecordKind::Role => {
            let record = v1::Role { name: named(), description: description(), ..Default::default() };
            let show = |row: &v1::Role| row!(row; name, description, revision, created_at, admins, users);
            five!(server, act, name, once, roles, record, role, name, show;
                create_role CreateRoleRequest, get_role GetRoleRequest, list_roles ListRolesRequest roles,
                update_role UpdateRoleRequest, delete_role DeleteRoleRequest;)
        }
        RecordKind::ApiKey => {
            let record = v1::ApiKey {
                id: named(),
                name: "a key".into(),
                description: description(),
                admin: THERE.into(),
                ..Default::default()
            };
            let show = |row: &v1::ApiKey| row!(row; id, name, description, admin, expires_at, created_at, revision);
            five!(server, act, name, once, tokens, record, api_key, id, show;
                create_api_key CreateApiKeyRequest, get_api_key GetApiKeyRequest, list_api_keys ListApiKeysRequest api_keys,
                update_api_key UpdateApiKeyRequest, delete_api_key DeleteApiKeyRequest;
                hash: Sha256::digest("another text").to_vec())
        }
        RecordKind::User | RecordKind::Token => return None,
    })
}
