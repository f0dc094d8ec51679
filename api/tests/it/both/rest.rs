//! Every verb as a REST call.

use axum::http::Method;
use flotilla_api::access::{Act, Verb};
use flotilla_model::RecordKind;
use serde_json::{Value, json};

use super::{AFTER, LOGIN, SECRET};

/// Method, path under `/api/v2`, body, and the credential where it is not root's token. `None`: REST has no such verb.
pub struct Call {
    pub method: Method,
    pub route: &'static str,
    pub path: String,
    pub body: Value,
    pub credential: Option<String>,
}

fn call(method: Method, route: &'static str, name: &str, body: Value) -> Option<Call> {
    let hole = route.find('{').map(|from| &route[from..=from + route[from..].find('}').expect("a whole hole")]);
    let path = hole.map_or(route.to_owned(), |hole| route.replace(hole, name));
    Some(Call { method, route, path, body, credential: None })
}

pub fn of(verb: Verb, name: &str, session: &str) -> Option<Call> {
    use Verb::*;
    let (get, none) = (Method::GET, Value::Null);
    let user = json!({"username": name, "permissions": {"/": ["*"]}, "description": AFTER, "password": SECRET});
    match verb {
        Record(act, kind) => record(act, kind, name),
        CreateUser => call(Method::POST, "/users", name, user),
        GetUser => call(get, "/users/{username}", name, none),
        ListUsers => call(get, "/users", name, none),
        UpdateUser => call(Method::PUT, "/users/{username}", name, user),
        DeleteUser => call(Method::DELETE, "/users/{username}", name, none),
        ListSessions => call(get, "/connections", name, none),
        KillSession => call(Method::DELETE, "/connections/{id}", session, none),
        ScanQuota => call(Method::POST, "/quotas/users/{username}/scan", name, none),
        ListScans => call(get, "/quotas/users/scans", name, none),
        GetStatus => call(get, "/cluster", name, none),
        Login => {
            let basic = super::basic(name);
            call(get, "/token", name, none).map(|call| Call { credential: Some(basic), ..call })
        }
        Logout if name == super::THERE => {
            let bearer = format!("Bearer {LOGIN}");
            call(get, "/logout", name, none).map(|call| Call { credential: Some(bearer), ..call })
        }
        Logout => call(get, "/logout", name, none),
        ReadEvents => call(get, "/events", name, none),
        Look => call(get, "/version", name, none),
        Dump => call(get, "/dumpdata", name, none).map(|call| Call { path: "/dumpdata?output-data=1".into(), ..call }),
        Load => {
            let roles = json!({"roles": [{"name": name, "description": AFTER}]});
            call(Method::POST, "/loaddata", name, roles)
        }
        GetQuota | CreateToken | ListTokens | DeleteToken | SaveBackup | CreateJoinToken | TransferLeadership
        | DrainNode | RemoveNode | ListHostKeys | RotateHostKeys => None,
    }
}

fn record(act: Act, kind: RecordKind, name: &str) -> Option<Call> {
    use RecordKind::*;
    let (all, one, mut body) = match kind {
        Admin => ("/admins", "/admins/{username}", json!({"username": name, "permissions": ["view_users"]})),
        Group => ("/groups", "/groups/{name}", json!({"name": name})),
        Folder => ("/folders", "/folders/{name}", json!({"name": name, "mapped_path": "/srv/f"})),
        Role => ("/roles", "/roles/{name}", json!({"name": name})),
        ApiKey => ("/apikeys", "/apikeys/{id}", json!({"name": "a key", "scope": 1, "admin": "there"})),
        User | Token => return None,
    };
    body["description"] = AFTER.into();
    match act {
        Act::Create => call(Method::POST, all, name, body),
        Act::Get => call(Method::GET, one, name, Value::Null),
        Act::List => call(Method::GET, all, name, Value::Null),
        Act::Update => call(Method::PUT, one, name, body),
        Act::Delete => call(Method::DELETE, one, name, Value::Null),
    }
}
