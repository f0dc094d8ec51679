//! W3 out of a history.

use super::faults::{disturbances, disturbed};
use super::text;
use crate::check::Findings;
use crate::check::revocation::{Acknowledged, Revocation, check};
use crate::history::{Operation, Record};

pub(super) fn of(records: &[Record], operations: &[Operation]) -> Findings {
    let mut findings = Findings::new("W3 revocation");
    let own = operations.iter().filter(|operation| operation.f.starts_with("W3.") && operation.is_ok());
    let (revokes, others): (Vec<&Operation>, Vec<&Operation>) = own.partition(|operation| operation.f == "W3.revoke");
    let faults = disturbances(records, operations);
    let revocations: Vec<Revocation> = revokes
        .into_iter()
        .map(|one| Revocation {
            user: text(one, "user").to_owned(),
            invoked: one.invoked,
            returned: one.returned,
            unconfirmed: serde_json::from_value(one.answer["unconfirmed"].clone()).unwrap_or_default(),
            disturbed: disturbed(&faults, one.invoked, one.returned),
        })
        .collect();
    let acknowledged: Vec<Acknowledged> = others
        .into_iter()
        .map(|one| Acknowledged {
            user: text(one, "user").to_owned(),
            node: one.asked["node"].as_u64().unwrap_or(0),
            invoked: one.invoked,
            login: one.f == "W3.login",
        })
        .collect();
    check(&revocations, &acknowledged, &mut findings);
    findings
}
