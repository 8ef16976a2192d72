//! Signatures by the specification's own vectors, addresses, and attempts against a listener on this machine.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Mutex;

use stepstream_runtime::reach::Lookup;
use stepstream_shared::execution::CallbackResult;

use super::sender::{Exchange, Sender};
use super::*;

/// The example of the specification and of its reference libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

#[test]
fn a_signature_is_that_of_the_specification() {
    let secret: Secret = SECRET.parse().unwrap();
    let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn a_secret_is_checked_and_never_shown() {
    let bad = |text: &str| text.parse::<Secret>().unwrap_err();
    assert_eq!(bad("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), BadSecret::Prefix);
    assert_eq!(bad("whsec_!!"), BadSecret::Encoding);
    assert_eq!(bad("whsec_c2hvcnQ="), BadSecret::Length(5));
    assert_eq!(format!("{:?}", SECRET.parse::<Secret>().unwrap()), "Secret(…)");
}

#[test]
fn a_tenant_may_have_a_key_of_its_own_and_keys_may_be_changed() {
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let secrets: Secrets = format!("{SECRET}, tenant_acme={other},{other}").parse().unwrap();
    assert_eq!(secrets.of(&tenant()).len(), 2);
    assert_eq!(secrets.of(&"tenant_acme".parse().unwrap()), [other.parse::<Secret>().unwrap()]);
    assert!(Secrets::default().of(&tenant()).is_empty());
    assert!(matches!(format!("acme={other}").parse::<Secrets>(), Err(BadSecret::Tenant)));
}

/// A key whose prefix was forgotten has something before its padding, too.
#[test]
fn a_padded_key_without_its_prefix_is_not_shown() {
    let key = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    let error = key.parse::<Secrets>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("MfKQ"), "{error}");
}

fn options(allow: &[&str]) -> CallbackOptions {
    let allow = allow.iter().map(|each| each.parse().unwrap()).collect();
    CallbackOptions { secrets: SECRET.parse().unwrap(), allow_http: true, allow }
}

/// Names that mean what the test says, each time something else.
struct Names(Mutex<Vec<Vec<&'static str>>>);

impl Lookup for Names {
    fn lookup(&self, _: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(async move { Ok(answer.iter().map(|address| address.parse().unwrap()).collect()) })
    }
}

fn sender(options: CallbackOptions, names: &[&[&'static str]]) -> Sender {
    Sender::new(options, Some(Arc::new(Names(Mutex::new(names.iter().map(|answer| answer.to_vec()).collect())))))
}

#[test]
fn a_url_is_checked_before_anything_is_begun() {
    let strict = sender(CallbackOptions { allow_http: false, ..options(&[]) }, &[&["8.8.8.8"]]);
    let refused = |url: &str| strict.check(&tenant(), url).unwrap_err().to_string();
    assert!(strict.check(&tenant(), "https://example.org/x").is_ok());
    assert!(refused("http://example.org").contains("https"));
    assert!(refused("file:///etc/passwd").contains("https"));
    assert!(refused("https://me:secret@example.org").contains("password"));
    assert!(refused("nonsense").contains("no URL"));
    for address in
        ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1:8080"]
    {
        assert!(refused(&format!("https://{address}/")).contains("not public"), "{address}");
    }
    let unsigned = sender(CallbackOptions::default(), &[&["8.8.8.8"]]);
    assert!(unsigned.check(&tenant(), "https://example.org").unwrap_err().to_string().contains("--webhook-secret"));
}

/// A listener that answers each connection with one answer and keeps the requests.
async fn listener(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !String::from_utf8_lossy(&request).contains("\r\n\r\n{}") {
                match stream.read(&mut part).await {
                    Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
                    _ => break,
                }
            }
            let _ = seen.send(String::from_utf8_lossy(&request).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, requests)
}

async fn call(sender: &Sender, url: &str) -> Exchange {
    sender.call(&tenant(), url, "msg_1", b"{}".to_vec()).await
}

#[tokio::test]
async fn a_callback_is_sent_with_the_headers_of_the_specification() {
    let (port, mut requests) = listener("HTTP/1.1 204 No Content\r\n\r\n").await;
    let sender = sender(options(&["127.0.0.1"]), &[&["8.8.8.8"]]);
    let exchange = call(&sender, &format!("http://127.0.0.1:{port}/done")).await;
    assert_eq!(exchange, Exchange { result: CallbackResult::Delivered, status: Some(204), error: None });
    let request = requests.recv().await.unwrap();
    let header = |name: &str| {
        let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(": ")).unwrap_or_else(|| panic!("{name}: {request}")).1.to_owned()
    };
    assert!(request.starts_with("POST /done HTTP/1.1"));
    assert_eq!((header("webhook-id").as_str(), header("content-type").as_str()), ("msg_1", "application/json"));
    let at: i64 = header("webhook-timestamp").parse().unwrap();
    assert_eq!(header("webhook-signature"), SECRET.parse::<Secret>().unwrap().sign("msg_1", at, b"{}"));
}

#[tokio::test]
async fn answers_decide_what_follows() {
    let answers = [
        ("HTTP/1.1 500 Oops\r\n\r\n", CallbackResult::Failed, 500),
        ("HTTP/1.1 404 Not Found\r\n\r\n", CallbackResult::Failed, 404),
        ("HTTP/1.1 410 Gone\r\n\r\n", CallbackResult::Refused, 410),
    ];
    for (answer, result, status) in answers {
        let (port, _requests) = listener(answer).await;
        let sender = sender(options(&["127.0.0.1"]), &[&["8.8.8.8"]]);
        let exchange = call(&sender, &format!("http://127.0.0.1:{port}/")).await;
        assert_eq!((exchange.result, exchange.status), (result, Some(status)), "{answer}");
    }
}

/// A server that was started without its options is put right by the next start: no callback is lost by that.
#[tokio::test]
async fn only_what_no_operator_can_mend_is_final() {
    let unsigned = || CallbackOptions { secrets: Secrets::default(), ..options(&[]) };
    let strict = || CallbackOptions { allow_http: false, ..options(&[]) };
    for (options, url, result) in [
        (unsigned(), "https://example.org/", CallbackResult::Failed),
        (strict(), "http://example.org/", CallbackResult::Failed),
        (strict(), "https://10.0.0.1/", CallbackResult::Failed),
        (strict(), "nonsense", CallbackResult::Refused),
    ] {
        let exchange = call(&sender(options, &[&["127.0.0.1"]]), url).await;
        assert_eq!((exchange.result, exchange.status), (result, None), "{url}: {exchange:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (inside, mut requests) = listener("HTTP/1.1 200 OK\r\n\r\n").await;
    let answer = format!("HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:{inside}/secret\r\n\r\n");
    let (port, _outside) = listener(Box::leak(answer.into_boxed_str())).await;
    let sender = sender(options(&["127.0.0.1"]), &[&["8.8.8.8"]]);
    let exchange = call(&sender, &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!((exchange.result, exchange.status), (CallbackResult::Failed, Some(307)));
    assert!(requests.try_recv().is_err(), "nobody was asked there");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_called_also_when_it_leads_elsewhere_too() {
    let (port, mut requests) = listener("HTTP/1.1 200 OK\r\n\r\n").await;
    for names in [&["127.0.0.1"][..], &["8.8.8.8", "127.0.0.1"], &["::ffff:127.0.0.1"]] {
        let sender = sender(options(&[]), &[names]);
        let exchange = call(&sender, &format!("http://inside.example:{port}/")).await;
        assert_eq!((exchange.result, exchange.status), (CallbackResult::Failed, None), "it is tried again");
        let error = exchange.error.unwrap();
        assert!(error.contains("not public"), "{error}");
        assert!(!error.contains("127.0.0.1"), "what names mean in here is not told: {error}");
    }
    assert!(requests.try_recv().is_err());
}

/// A name is looked up once for a connection, and the connection goes to what was checked. Somebody who answers with a
/// public address first and with this machine's own from then on reaches nothing.
#[tokio::test]
async fn rebinding_a_name_reaches_nothing() {
    let (port, mut requests) = listener("HTTP/1.1 200 OK\r\n\r\n").await;
    // 127.0.0.2 stands for the public address: nobody listens there.
    let sender = sender(options(&["127.0.0.2"]), &[&["127.0.0.2"], &["127.0.0.1"]]);
    let first = call(&sender, &format!("http://rebinding.example:{port}/")).await;
    assert_eq!(first.result, CallbackResult::Failed, "{first:?}");
    let second = call(&sender, &format!("http://rebinding.example:{port}/")).await;
    assert!(second.error.as_ref().is_some_and(|error| error.contains("not public")), "{second:?}");
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn an_allowed_host_may_be_anywhere() {
    let (port, mut requests) = listener("HTTP/1.1 200 OK\r\n\r\n").await;
    let sender = sender(options(&["hooks.internal"]), &[&["127.0.0.1"]]);
    let exchange = call(&sender, &format!("http://hooks.internal:{port}/")).await;
    assert_eq!(exchange.result, CallbackResult::Delivered, "{exchange:?}");
    assert!(requests.recv().await.is_some());
}
