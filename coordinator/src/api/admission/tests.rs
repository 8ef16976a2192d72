use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::get;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

#[tokio::test]
async fn a_panic_ends_its_request_and_says_nothing_of_the_inside() {
    async fn handler() {
        panic!("the secret of the house");
    }
    let router = Router::new().route("/", get(handler)).layer(CatchPanicLayer::custom(super::after_panic));
    let response = router.oneshot(axum::http::Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("urn:stepstream:problem:internal") && !text.contains("secret"), "{text}");
}
