//! Every verb over gRPC and over REST, on clusters that were made alike: the same answer, the same refusal, the same history. What is
//! compared is found from the tables of `access.rs`; a verb without a row in `rest::of` and `grpc::say` does not compile.

mod grpc;
mod rest;

use std::sync::LazyLock;

use base64::Engine;
use flotilla_api::access::{Act, CALLS, ROUTES, Verb};
use flotilla_cluster::Cluster;
use flotilla_model::command::{Expected, IssueToken, Put, PutApiKey, PutNode, PutToken};
use flotilla_model::{AdminSpec, Command, FolderSpec, GroupSpec, Name, NodeId, RecordKind, RoleSpec, Spec, Status};
use flotilla_proto::admin::v1;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic_types::StatusExt;

use crate::fixture::{Server, user};
use crate::http::Answer;

const THERE: &str = "there";
const NOWHERE: &str = "nowhere";
/// What `description` is before and after a change.
const BEFORE: &str = "as it was made";
const AFTER: &str = "as it was changed";
/// The password of admin `there`, and the text of one of its logins' tokens.
const SECRET: &str = "correct horse";
const LOGIN: &str = "login-text";

static HASH: LazyLock<String> = LazyLock::new(|| flotilla_auth::hash_password(SECRET.as_bytes()).expect("a hash"));

fn basic(name: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{SECRET}")))
}

fn verbs() -> Vec<Verb> {
    let mut verbs: Vec<Verb> = Vec::new();
    let tables = CALLS.iter().map(|(_, verb)| *verb).chain(ROUTES.iter().map(|(.., verb)| *verb));
    tables.for_each(|verb| {
        if !verbs.contains(&verb) {
            verbs.push(verb)
        }
    });
    verbs
}

fn changes(verb: Verb) -> bool {
    use Verb::*;
    match verb {
        Record(act, _) => !matches!(act, Act::Get | Act::List),
        CreateUser | UpdateUser | DeleteUser | KillSession | ScanQuota | CreateToken | DeleteToken | Login | Logout
        | Load | CreateJoinToken | TransferLeadership | DrainNode | RemoveNode | RotateHostKeys => true,
        GetUser | ListUsers | ListSessions | GetQuota | ListScans | GetStatus | ListTokens | SaveBackup
        | ReadEvents | Dump | ListHostKeys | Look => false,
    }
}

/// A cluster with one thing of each kind, at the same indices each time; and the id of its session.
async fn alike() -> (Server, String) {
    let server = Server::start().await;
    fn put<S: Spec>(server: &Server, spec: S) -> u64 {
        let put = Put { name: Name::parse(THERE).expect("a name"), expected: Expected::Absent, spec };
        let done = server.cluster.local.apply(S::put(put));
        done.reply.expect("made");
        done.index
    }
    let description = || BEFORE.to_owned();
    put(&server, RoleSpec { description: description() });
    put(&server, FolderSpec { mapped_path: "/srv/f".into(), description: description() });
    put(&server, GroupSpec { description: description(), ..GroupSpec::default() });
    let admin = AdminSpec {
        status: Status::Enabled,
        password_hash: Some(HASH.clone()),
        permissions: vec!["view_users".into()],
        email: String::new(),
        description: description(),
        additional_info: String::new(),
        role: None,
        allow_list: Vec::new(),
        allow_api_key_auth: false,
    };
    let revision = put(&server, admin);
    let apply = |command| server.cluster.local.apply(command).reply.expect("done");
    let name = || Name::parse(THERE).expect("a name");
    apply(Command::IssueToken(IssueToken {
        admin: name(),
        revision,
        hash: Sha256::digest(LOGIN).into(),
        expires_at: u64::MAX,
    }));
    apply(Command::PutApiKey(PutApiKey {
        id: name(),
        expected: Expected::Absent,
        hash: Some(Sha256::digest("a key").into()),
        label: "a key".into(),
        description: description(),
        admin: Some(name()),
        expires_at: 0,
    }));
    apply(Command::PutToken(PutToken {
        name: THERE.into(),
        hash: Sha256::digest("a token").into(),
        permissions: vec!["view_users".into()],
        expires_at: 0,
        replace: false,
    }));
    apply(Command::PutNode(PutNode {
        public_key: Vec::new(),
        node: NodeId(2),
        name: "second".into(),
        peer_address: "192.0.2.2:8082".into(),
        admin_address: String::new(),
        sftp_address: String::new(),
    }));
    let there = v1::User { description: BEFORE.into(), ..user(THERE) };
    let request = v1::CreateUserRequest { user: Some(there), ..Default::default() };
    server.users().create_user(request).await.expect("made");
    let session = server.log_in(THERE).to_string();
    let scan = v1::ScanQuotaRequest { username: THERE.into(), ..Default::default() };
    server.quotas().scan_quota(scan).await.expect("asked");
    (server, session)
}

/// What either interface answered, in the same words.
#[derive(Debug, PartialEq)]
enum Said {
    Done(Value),
    Refused { code: String, message: String, definite: bool, retryable: bool },
}

async fn over_rest(server: &Server, verb: Verb, name: &str, session: &str) -> Option<Said> {
    let call = rest::of(verb, name, session)?;
    let body = if call.body.is_null() { String::new() } else { call.body.to_string() };
    let answer = match &call.credential {
        None => server.call(call.method, &call.path, &[], body).await,
        Some(credential) => {
            let path = format!("/api/v2{}", call.path);
            server.bare(call.method, &path, &[("authorization", credential)], body).await
        }
    };
    let body = answer.json();
    if answer.status.is_success() {
        return Some(Said::Done(if changes(verb) { done(&answer, &body) } else { body }));
    }
    let text = |field: &str| body[field].as_str().expect("a text").to_owned();
    let truth = |field: &str| body[field].as_bool().expect("a truth");
    Some(Said::Refused {
        code: text("code"),
        message: text("message"),
        definite: truth("definite"),
        retryable: truth("retryable"),
    })
}

fn done(answer: &Answer, body: &Value) -> Value {
    let log_index: u64 = answer.header("flotilla-log-index").parse().expect("an index");
    let unconfirmed = body.get("unconfirmed_nodes").cloned().unwrap_or(json!([]));
    json!({"log_index": log_index, "unconfirmed": unconfirmed})
}

async fn over_grpc(server: &Server, verb: Verb, name: &str, session: &str) -> Option<Said> {
    under(server, verb, name, session, "").await
}

async fn under(server: &Server, verb: Verb, name: &str, session: &str, once: &str) -> Option<Said> {
    Some(match grpc::say(server, verb, name, session, once).await? {
        Ok(value) => Said::Done(value),
        Err(status) => {
            let info = status.get_details_error_info().expect("typed details");
            let truth = |fact: &str| info.metadata[fact].parse().expect("a truth");
            Said::Refused {
                code: info.reason.to_lowercase(),
                message: status.message().to_owned(),
                definite: truth("definite"),
                retryable: truth("retryable"),
            }
        }
    })
}

/// As much of what REST shows as gRPC's answer was made to show; what REST leaves out is empty.
fn like(shown: &Value, model: &Value) -> Value {
    match (shown, model) {
        (Value::Object(_), Value::Object(fields)) => {
            fields.iter().map(|(name, model)| (name.clone(), like(&shown[name], model))).collect()
        }
        (Value::Array(rows), Value::Array(models)) if rows.len() == models.len() => {
            rows.iter().zip(models).map(|(row, model)| like(row, model)).collect()
        }
        (Value::Null, Value::String(text)) if text.is_empty() => model.clone(),
        (Value::Null, Value::Array(rows)) if rows.is_empty() => model.clone(),
        _ => shown.clone(),
    }
}

/// What the history says of a change, without what is made anew each time.
async fn history(server: &Server, after: u64, verb: Verb) -> Vec<Value> {
    let request = v1::ListEventsRequest { since: after, ..Default::default() };
    let page = server.events().list_events(request).await.expect("a page").into_inner();
    let shown = |mut event: v1::Event| {
        assert!(!event.actor.is_empty() && event.source.starts_with("127.0.0.1:"), "{verb:?}: by whom? {event:?}");
        event.details.remove("expires_at");
        if verb == Verb::Record(Act::Create, RecordKind::ApiKey) {
            event.object_name.clear();
        }
        let changes = event.changes.iter().map(|change| json!([change.field, change.before, change.after]));
        let changes: Vec<Value> = changes.filter(|change| change[0] != "expires_at").collect();
        json!([event.log_index, event.kind, event.actor, event.object_type, event.object_name, event.details, changes])
    };
    page.events.into_iter().map(shown).collect()
}

/// What is left out where over REST the server makes it: the name of a key.
fn comparable(verb: Verb, name: &str) -> bool {
    !(verb == Verb::Record(Act::Create, RecordKind::ApiKey) && name == THERE)
}

#[test]
fn every_verb_of_a_table_has_a_call_and_none_else() {
    for verb in verbs() {
        let call = rest::of(verb, THERE, "1-2-3");
        assert_eq!(call.is_some(), ROUTES.iter().any(|(.., row)| *row == verb), "{verb:?}");
        if let Some(call) = call {
            let found = flotilla_api::access::route(call.method.as_str(), call.route);
            assert_eq!(found, Some(verb), "{} {}", call.method, call.route);
        }
    }
}

#[tokio::test]
async fn either_interface_says_and_does_the_same_for_every_verb() {
    let mut compared = 0;
    for verb in verbs() {
        for name in [THERE, NOWHERE] {
            let (one, session) = alike().await;
            let session = if name == THERE { session } else { "1-2-3".to_owned() };
            let before = one.cluster.state().last_event_number();
            let grpc = over_grpc(&one, verb, name, &session).await;
            // What only reads is asked of the same cluster.
            let other = if changes(verb) { Some(alike().await.0) } else { None };
            let second = other.as_ref().unwrap_or(&one);
            let rest = over_rest(second, verb, name, &session).await;
            let has_grpc = !matches!(verb, Verb::Dump | Verb::Load);
            assert_eq!(grpc.is_some(), has_grpc && CALLS.iter().any(|(_, row)| *row == verb), "{verb:?}");
            let (Some(grpc), Some(mut rest)) = (grpc, rest) else { continue };
            if !comparable(verb, name) {
                continue;
            }
            if let (Said::Done(shown), Said::Done(model)) = (&rest, &grpc) {
                rest = Said::Done(like(shown, model));
            }
            assert_eq!(rest, grpc, "{verb:?} of {name}: REST, then gRPC");
            if other.is_some() {
                let told = (history(&one, before, verb).await, history(second, before, verb).await);
                assert_eq!(told.1, told.0, "{verb:?} of {name}: REST, then gRPC");
            }
            compared += 1;
        }
    }
    assert!(compared >= 2 * 35, "{compared} comparisons");
}

#[tokio::test]
async fn every_change_is_told_with_who_and_from_where_and_what_was_before_and_after_and_no_secret() {
    for verb in verbs().into_iter().filter(|verb| changes(*verb)) {
        let creates = matches!(verb, Verb::CreateUser | Verb::CreateToken | Verb::Record(Act::Create, _));
        let updates = matches!(verb, Verb::UpdateUser | Verb::Record(Act::Update, _));
        let deletes = matches!(verb, Verb::DeleteUser | Verb::DeleteToken | Verb::Record(Act::Delete, _));
        let name = if creates || verb == Verb::Load { NOWHERE } else { THERE };
        let (server, session) = alike().await;
        let before = server.cluster.state().last_event_number();
        let said = match over_grpc(&server, verb, name, &session).await {
            Some(said) => Some(said),
            None => over_rest(&server, verb, name, &session).await,
        };
        assert!(matches!(said, Some(Said::Done(_))), "{verb:?}: {said:?}");
        let request = v1::ListEventsRequest { since: before, ..Default::default() };
        let events = server.events().list_events(request).await.expect("a page").into_inner().events;
        assert!(!events.is_empty(), "{verb:?} left no trace");
        let by = if matches!(verb, Verb::Login | Verb::Logout) { "admin there" } else { "admin token root" };
        let secrets = [SECRET, LOGIN, HASH.as_str(), "argon2", "another text"];
        let hashes = ["another text", LOGIN].map(|text| hex(&Sha256::digest(text)));
        for event in &events {
            assert_eq!(event.actor, by, "{verb:?}: {event:?}");
            assert!(event.source.starts_with("127.0.0.1:"), "{verb:?}: {event:?}");
            let text = format!("{:?} {:?} {}", event.changes, event.details, event.object_name);
            let told = secrets.iter().find(|secret| text.contains(**secret));
            assert_eq!(told, None, "{verb:?} tells a secret: {text}");
            assert!(!hashes.iter().any(|hash| text.contains(hash.as_str())), "{verb:?} tells a hash: {text}");
        }
        let said: Vec<_> = events.iter().flat_map(|event| &event.changes).collect();
        let any = |is: &dyn Fn(&v1::FieldChange) -> bool| said.iter().any(|change| is(change));
        if creates {
            assert!(any(&|change| !change.after.is_empty()) && !any(&|change| !change.before.is_empty()), "{said:?}");
        }
        if updates {
            let shown = (format!("{BEFORE:?}"), format!("{AFTER:?}"));
            let is = |change: &v1::FieldChange| {
                change.field == "description" && (&change.before, &change.after) == (&shown.0, &shown.1)
            };
            assert!(any(&is), "{verb:?}: {said:?}");
        }
        if deletes {
            assert!(any(&|change| !change.before.is_empty()) && !any(&|change| !change.after.is_empty()), "{said:?}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every change under one request id: done once, and answered the same.
#[tokio::test]
async fn every_change_repeated_under_its_id_answers_the_same_and_does_nothing_twice() {
    for verb in verbs().into_iter().filter(|verb| changes(*verb)) {
        if rest::of(verb, THERE, "").is_none() {
            continue;
        }
        // What shows a secret once says that it does not show it again.
        let shows_a_secret = matches!(verb, Verb::Login | Verb::Record(Act::Create, RecordKind::ApiKey));
        let creates = matches!(verb, Verb::CreateUser | Verb::Record(Act::Create, _));
        let (server, session) = alike().await;
        let call = rest::of(verb, if creates { NOWHERE } else { THERE }, &session).expect("a call");
        // The end of a login's token ends who could ask again.
        if verb == Verb::Logout {
            continue;
        }
        let id = uuid::Uuid::now_v7().to_string();
        let root = format!("Bearer {}", crate::fixture::ROOT);
        let credential = call.credential.clone().unwrap_or(root);
        let headers = [("authorization", credential.as_str()), ("flotilla-request-id", id.as_str())];
        let ask = async || {
            let body = if call.body.is_null() { String::new() } else { call.body.to_string() };
            server.bare(call.method.clone(), &format!("/api/v2{}", call.path), &headers, body).await
        };
        let first = ask().await;
        assert!(first.status.is_success(), "{verb:?}: {}", first.text);
        assert_eq!(first.header("flotilla-request-id"), id, "{verb:?}");
        let told = server.cluster.state().last_event_number();
        let second = ask().await;
        assert_eq!(server.cluster.state().last_event_number(), told, "{verb:?} was done twice");
        assert_eq!(second.header("flotilla-request-id"), id, "{verb:?}");
        assert_eq!(second.header("flotilla-log-index"), first.header("flotilla-log-index"), "{verb:?}");
        if shows_a_secret {
            assert_eq!((second.status.as_u16(), &second.json()["code"]), (409, &json!("already_exists")), "{verb:?}");
            assert!(second.json()["message"].as_str().expect("a text").contains("not shown again"), "{verb:?}");
        } else {
            assert_eq!((second.status, &second.text), (first.status, &first.text), "{verb:?}");
        }
    }
}

/// The same over gRPC, where the caller makes the secrets and is answered the same.
#[tokio::test]
async fn every_change_repeated_over_grpc_answers_the_same_and_does_nothing_twice() {
    // What goes beside the log has no request id; the end of a login's token ends who could ask again.
    let once = |verb: &Verb| !matches!(verb, Verb::Load | Verb::TransferLeadership | Verb::DrainNode | Verb::Logout);
    for verb in verbs().into_iter().filter(|verb| changes(*verb)).filter(once) {
        let creates = matches!(verb, Verb::CreateUser | Verb::CreateToken | Verb::Record(Act::Create, _));
        let name = if creates { NOWHERE } else { THERE };
        let (server, session) = alike().await;
        let id = uuid::Uuid::now_v7().to_string();
        let first = under(&server, verb, name, &session, &id).await;
        assert!(matches!(first, Some(Said::Done(_))), "{verb:?}: {first:?}");
        let told = server.cluster.state().last_event_number();
        let second = under(&server, verb, name, &session, &id).await;
        assert_eq!(second, first, "{verb:?}");
        // A removal seals the secrets anew each time: it may have been for that that it was asked again.
        if verb != Verb::RemoveNode {
            assert_eq!(server.cluster.state().last_event_number(), told, "{verb:?} was done twice");
        }
    }
}

#[tokio::test]
async fn a_key_and_a_token_are_deleted_and_changed_on_the_revision_that_was_read() {
    let (server, _) = alike().await;
    let etag = server.get("/apikeys/there").await.header("etag").to_owned();
    let revision: u64 = etag.trim_matches('"').parse().expect("a revision");
    let body = json!({"name": "renamed", "scope": 1, "admin": "there"}).to_string();
    let put = async |etag: &str| {
        server
            .call(axum::http::Method::PUT, "/apikeys/there", &[("if-match", etag)], body.clone())
            .await
            .status
            .as_u16()
    };
    assert_eq!((put("\"1\"").await, put(&etag).await, put(&etag).await), (412, 200, 412));
    let delete = async |expected_revision: u64| {
        let expected_revision = Some(expected_revision);
        let request = v1::DeleteApiKeyRequest { id: THERE.into(), expected_revision, ..Default::default() };
        server.tokens().delete_api_key(request).await.map_err(|status| status.code()).map(|_| ())
    };
    assert_eq!(delete(revision).await, Err(tonic::Code::Aborted), "it was changed since");
    let old = [("if-match", etag.as_str())];
    let old = server.call(axum::http::Method::DELETE, "/apikeys/there", &old, "").await;
    assert_eq!(old.status.as_u16(), 412, "over REST too");
    let now = server.get("/apikeys/there").await.json()["revision"].as_u64().expect("a revision");
    assert_eq!(delete(now).await, Ok(()));

    let tokens = server.tokens().list_tokens(v1::ListTokensRequest {}).await.expect("listed").into_inner().tokens;
    let revision = tokens.iter().find(|token| token.name == THERE).expect("the token").revision;
    let delete = async |expected_revision: u64| {
        let expected_revision = Some(expected_revision);
        let request = v1::DeleteTokenRequest { name: THERE.into(), expected_revision, ..Default::default() };
        server.tokens().delete_token(request).await.map_err(|status| status.code()).map(|_| ())
    };
    assert_eq!(delete(revision - 1).await, Err(tonic::Code::Aborted));
    assert_eq!(delete(revision).await, Ok(()));
}
