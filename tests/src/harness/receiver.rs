//! Somebody who is called back: keeps what comes, and checks signatures by an implementation of its own.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The key of the specification's own example.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The same, decoded.
const KEY: [u8; 24] = [
    0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c, 0xf6, 0x48, 0xa3,
    0x62, 0xda, 0x2d, 0xa4, 0xb0,
];

/// One callback as it came.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: String,
    pub body: Value,
    pub is_signed: bool,
}

pub struct Receiver {
    address: std::net::SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Answers with these statuses in turn, the last one for ever.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(statuses: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let kept = calls.clone();
        let answer = async move |headers: HeaderMap, body: Bytes| {
            let mut calls = kept.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push(call(&headers, &body));
            let status = statuses.get(calls.len() - 1).or(statuses.last()).copied().unwrap_or(200);
            StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
        };
        let (held, refused) = (calls.clone(), calls.clone());
        let held = async move |headers: HeaderMap, body: Bytes| {
            if came_first(&held, call(&headers, &body)) {
                std::future::pending::<()>().await;
            }
            StatusCode::OK
        };
        let refused = async move |headers: HeaderMap, body: Bytes| {
            if came_first(&refused, call(&headers, &body)) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        };
        let router =
            Router::new().route("/done", post(answer)).route("/held", post(held)).route("/refused", post(refused));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await; // Ends with the test.
        });
        Receiver { address, calls, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/done", self.address)
    }

    /// Where the first of each id is never answered, and all others at once.
    pub fn holding_url(&self) -> String {
        format!("http://{}/held", self.address)
    }

    /// Where the first of each id is answered 503, and all others 200.
    pub fn refusing_url(&self) -> String {
        format!("http://{}/refused", self.address)
    }

    /// All that came, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Keeps a call, and says whether none of its id had come before.
fn came_first(calls: &Mutex<Vec<Call>>, call: Call) -> bool {
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    let first = calls.iter().all(|before| before.id != call.id);
    calls.push(call);
    first
}

fn call(headers: &HeaderMap, body: &[u8]) -> Call {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let mut message = format!("{id}.{timestamp}.").into_bytes();
    message.extend_from_slice(body);
    let expected = format!("v1,{}", base64(&hmac_sha256(&KEY, &message)));
    let is_signed = header("webhook-signature").split(' ').any(|signature| signature == expected);
    Call { id, body: serde_json::from_slice(body).unwrap_or_default(), is_signed }
}

/// RFC 2104 over SHA-256 of RFC 6234's reference, written out: not the code that is tested.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = sha256(&[pad(0x36), message.to_vec()].concat());
    sha256(&[pad(0x5c), inner.to_vec()].concat())
}

/// The first 32 bits of the fractional part of a root of a prime.
fn fraction(prime: u32, root: fn(f64) -> f64) -> u32 {
    (root(f64::from(prime)).fract() * 4_294_967_296.0) as u32
}

fn sha256(message: &[u8]) -> [u8; 32] {
    let primes: Vec<u32> = (2_u32..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64).collect();
    let constants: Vec<u32> = primes.iter().map(|prime| fraction(*prime, f64::cbrt)).collect();
    let mut hash: Vec<u32> = primes[..8].iter().map(|prime| fraction(*prime, f64::sqrt)).collect();
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words: Vec<u32> =
            block.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect();
        for at in 16..64 {
            let (a, b) = (words[at - 15], words[at - 2]);
            let small_0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let small_1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            words.push(words[at - 16].wrapping_add(small_0).wrapping_add(words[at - 7]).wrapping_add(small_1));
        }
        let mut v = hash.clone();
        for at in 0..64 {
            let large_1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let one =
                v[7].wrapping_add(large_1).wrapping_add(choice).wrapping_add(constants[at]).wrapping_add(words[at]);
            let large_0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            let two = large_0.wrapping_add(majority);
            v = vec![one.wrapping_add(two), v[0], v[1], v[2], v[3].wrapping_add(one), v[4], v[5], v[6]];
        }
        for (sum, add) in hash.iter_mut().zip(v) {
            *sum = sum.wrapping_add(add);
        }
    }
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(4).zip(hash) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_own_arithmetic_is_right() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // RFC 4231, case 2.
        let mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(base64(&KEY), SECRET.trim_start_matches("whsec_"));
        let message = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert_eq!(base64(&hmac_sha256(&KEY, message)), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
