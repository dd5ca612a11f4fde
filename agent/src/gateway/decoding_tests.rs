//! Bytes over gRPC that are no message of ours: the caller's mistake, whatever is wrong with them,
//! in a call and in a stream of calls. Through whole agents.

use std::future::poll_fn;
use std::pin::pin;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{Request, header};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower::ServiceExt as _;

use super::server_tests::{Agent, PATIENCE, World};

/// What a call that sends these bytes ends with.
async fn sent(agent: &Agent, method: &str, bytes: &'static [u8]) -> Status {
    let endpoint = Endpoint::from_shared(format!("http://{}", agent.grpc)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let request = Request::post(format!("/treasurehunt.v1.Hunts/{method}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers");
    // A body of pieces, since one that is empty would be no body at all.
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(bytes))]);
    let body = tonic::body::Body::new(Body::from_stream(pieces));
    let response = channel.oneshot(request.body(body).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return status;
    }
    let mut body = pin!(body);
    loop {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await.expect("an end").unwrap();
        if let Ok(trailers) = frame.into_trailers() {
            return Status::from_header_map(&trailers).expect("a status");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake() {
    let world = World::placed().await;
    let check = async |what: &str, bytes: &'static [u8], flaw: &str| {
        for method in ["Publish", "PublishStream"] {
            if bytes.is_empty() && method == "PublishStream" {
                continue; // a stream may end at once
            }
            let count = || world.a.gateway.metrics().mistakes.with_label_values(&[flaw]).get();
            let before = count();
            let sent = tokio::time::timeout(PATIENCE, sent(&world.a, method, bytes));
            let status = sent.await.expect("it hangs");
            assert_eq!(status.code(), Code::InvalidArgument, "{method}, {what}: {status}");
            assert_eq!(count(), before + 1, "{method}, {what}, as {flaw}");
        }
    };
    check("no utf-8", &[0, 0, 0, 0, 3, 0x0a, 1, 0xff], "malformed").await;
    check("a field longer than its message", &[0, 0, 0, 0, 3, 0x12, 10, 0x0a], "malformed").await;
    check("a message that is cut", &[0, 0, 0, 0, 10, 0x0a, 1, b'x'], "malformed").await;
    check("no message", &[], "malformed").await;
    check("an unknown flag", &[9, 0, 0, 0, 0], "malformed").await;
    check("compressed, nobody knows how", &[1, 0, 0, 0, 0], "malformed").await;
    check("a length of 80 MiB", &[0, 5, 0, 0, 0], "too_large").await;
    world.end().await;
}
