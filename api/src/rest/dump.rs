//! `/dumpdata` and `/loaddata`: all records in SFTPGo's form, with the hashes of their secrets, out and in.

mod load;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use flotilla_model::{AdminSpec, FolderSpec, GroupSpec, Kept, RoleSpec, User, Username};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::load::load;
use super::Failed;
use super::document::{Described, Operation};
use super::json::{Nothing, UserShown};
use super::page::Asked;
use super::shape::Shape;
use super::users::shown as user_shown;
use crate::access::Verb;
use crate::error::{ApiError, Code};
use crate::service::{Caller, Service};

/// The version of SFTPGo's form that is written; older ones are read.
const VERSION: u64 = 17;
/// Rows of one piece of a dump.
const PIECE: usize = 256;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct DumpQuery {
    /// 1: the dump is the answer's body. Nothing else is served.
    output_data: String,
    /// Not served: nodes write no files for callers.
    output_file: String,
    /// Sections, separated by commas; empty: all.
    scopes: String,
}

/// All records, with the hashes of users' and admins' passwords.
// Sent in pieces: this is what they make together.
#[allow(dead_code)]
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Dump")]
struct DumpShown {
    users: Vec<WithHash<UserShown>>,
    #[serde(flatten)]
    rest: Rest,
}

/// What stands behind the users.
#[derive(Serialize, JsonSchema)]
struct Rest {
    groups: Vec<<GroupSpec as Shape>::Shown>,
    folders: Vec<<FolderSpec as Shape>::Shown>,
    admins: Vec<WithHash<<AdminSpec as Shape>::Shown>>,
    roles: Vec<<RoleSpec as Shape>::Shown>,
    /// Left out, as `left_out` says.
    api_keys: [Nothing; 0],
    shares: [Nothing; 0],
    event_actions: [Nothing; 0],
    event_rules: [Nothing; 0],
    ip_lists: [Nothing; 0],
    configs: Nothing,
    version: u64,
    /// What the cluster holds and the dump does not.
    left_out: Vec<String>,
}

/// A record with its password's hash.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}WithHash")]
struct WithHash<T> {
    #[serde(flatten)]
    record: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// Sent as it is made.
pub(super) struct Dumped(Response);

impl IntoResponse for Dumped {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Described for Dumped {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<DumpShown>(200, "application/json");
    }
}

/// Made as it is sent: a million users are no body in memory.
pub(super) async fn dump(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<DumpQuery>,
) -> Result<Dumped, Failed> {
    caller.may(Verb::Dump)?;
    if query.output_data != "1" && query.output_data != "true" {
        let text = match query.output_file.as_str() {
            "" => "output-data: only 1 is served: the dump is the answer's body",
            _ => "output-file: nodes write no files for callers: use output-data=1",
        };
        return Err(ApiError::new(Code::Unsupported, text).into());
    }
    let state = service.state(false).await?;
    let index = state.applied_index();
    let wanted = |scope: &str| query.scopes.is_empty() || query.scopes.split(',').any(|asked| asked == scope);
    let rest = Rest {
        groups: kept::<GroupSpec>(wanted("groups"), &caller, &state),
        folders: kept::<FolderSpec>(wanted("folders"), &caller, &state),
        admins: admins(wanted("admins"), &caller, &state),
        roles: kept::<RoleSpec>(wanted("roles"), &caller, &state),
        api_keys: [],
        shares: [],
        event_actions: [],
        event_rules: [],
        ip_lists: [],
        configs: Nothing {},
        version: VERSION,
        left_out: left_out(&state),
    };
    let rest = text(&rest)?;
    // `{"users":[` users `],` and what an object holds behind its brace.
    let tail = format!("],{}", &rest[1..]);
    let users = futures::stream::unfold((wanted("users"), None, true), move |(more, after, first)| {
        let piece = more.then(|| users(&service, &state, after.as_ref(), first));
        std::future::ready(piece.map(|(text, last)| (text, (last.is_some(), last, false))))
    });
    let pieces = futures::stream::once(std::future::ready("{\"users\":[".to_owned()))
        .chain(users)
        .chain(futures::stream::once(std::future::ready(tail)));
    let mut response = Response::new(Body::from_stream(pieces.map(Ok::<_, std::convert::Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("flotilla-log-index", HeaderValue::from(index));
    Ok(Dumped(response))
}

fn text(body: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(body).map_err(|error| ApiError::new(Code::Internal, error.to_string()))
}

/// Said in the dump itself: it may be read long afterwards.
fn left_out(state: &flotilla_model::State) -> Vec<String> {
    let counted = [
        (state.tokens().count(), "tokens and API keys: make them anew"),
        (state.live_sessions().count(), "sessions: clients log in again"),
        (
            state.accounts().count(),
            "accounts with what is counted as stored: a scan counts it anew (loaddata with scan-quota=1)",
        ),
        (state.secrets().count(), "sealed secrets, host keys among them: `flotilla backup save` keeps them"),
    ];
    let some = counted.into_iter().filter(|(count, _)| *count > 0);
    let always = ["events, nodes and the users' files".to_owned()];
    some.map(|(count, what)| format!("{count} {what}")).chain(always).collect()
}

/// Users behind `after` as items of an array, and the last of them if there may be more.
fn users(
    service: &Service,
    state: &flotilla_model::State,
    after: Option<&Username>,
    first: bool,
) -> (String, Option<Username>) {
    let rows: Vec<&Arc<User>> = state.users_after(after).take(PIECE).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        if !(first && at == 0) {
            text.push(',');
        }
        let body = WithHash { record: user_shown(service, state, row), password: row.password_hash.clone() };
        text.push_str(&serde_json::to_string(&body).expect("strings, numbers and maps of strings are JSON"));
    }
    let last = rows.last().filter(|_| rows.len() == PIECE).map(|row| row.username.clone());
    (text, last)
}

fn kept<S: Shape>(wanted: bool, caller: &Caller, state: &flotilla_model::State) -> Vec<S::Shown> {
    let rows = state.kept_after::<S>(None).filter(|_| wanted);
    rows.map(|row| S::show(caller, state, row)).collect()
}

fn admins(wanted: bool, caller: &Caller, state: &flotilla_model::State) -> Vec<WithHash<<AdminSpec as Shape>::Shown>> {
    let rows = state.kept_after::<AdminSpec>(None).filter(|_| wanted);
    let shown = |row: &Arc<Kept<AdminSpec>>| WithHash {
        record: AdminSpec::show(caller, state, row),
        password: row.spec.password_hash.clone(),
    };
    rows.map(shown).collect()
}
