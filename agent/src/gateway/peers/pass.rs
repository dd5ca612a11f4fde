//! Who may hand events over as another node: whoever knows the hunt's pass. It follows from a
//! random id that stands in etcd under the hunt, so every agent knows it and no client does. Who
//! reads etcd could hand over as well; etcd is what guards that. In: requests. Out: the same, or a
//! refusal before anything of it was read.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tonic::Status;

use crate::gateway::publish::Gateway;

/// The metadata in which it is shown.
pub(crate) const PASS: &str = "treasurehunt-pass";

/// `router` for those who have the pass.
pub(crate) fn guarded(gateway: Gateway, router: Router) -> Router {
    router.layer(from_fn_with_state(gateway, check))
}

async fn check(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(PASS).map(|shown| shown.as_bytes());
    let pass = gateway.plane().routes().borrow().pass.clone();
    if pass.zip(shown).is_some_and(|(pass, shown)| same(pass.as_bytes(), shown)) {
        return next.run(request).await;
    }
    gateway.metrics().shed.with_label_values(&["no_pass"]).inc();
    Status::unauthenticated("only nodes of the hunt hand events over").into_http()
}

/// Takes as long for every wrong pass of the right length, so that none can be found bit by bit.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_pass_is_good() {
        let check = |shown: &[u8], expected| assert_eq!(same(b"pass", shown), expected);
        check(b"pass", true);
        check(b"pasS", false);
        check(b"pas", false);
        check(b"passe", false);
        check(b"", false);
    }
}
