//! The backends: `POST /publish?topic=TOPIC`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::topics::{Publish, Topics};

/// A publish above it is refused.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(crate) async fn serve(listener: TcpListener, topics: Arc<Topics>) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        let topics = Arc::clone(&topics);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &topics));
            // How a backend's connection ends concerns nobody else.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, topics: &Topics) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::POST || request.uri().path() != "/publish" {
        return Ok(say(StatusCode::NOT_FOUND, "POST /publish?topic=TOPIC"));
    }
    let query = request.uri().query().unwrap_or_default();
    let Some(topic) = query.strip_prefix("topic=").map(str::to_owned) else {
        return Ok(say(StatusCode::BAD_REQUEST, "the query has no topic"));
    };
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return Ok(say(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or did not end"));
    };
    match messages(&body.to_bytes()) {
        Some(messages) => {
            let receivers = topics.publish(&topic, messages);
            Ok(say(StatusCode::OK, &format!("{{\"receivers\":{receivers}}}")))
        }
        None => Ok(say(StatusCode::BAD_REQUEST, "the body is neither UTF-8 nor a JSON array")),
    }
}

/// The messages of a body; all of them share its bytes.
fn messages(body: &Bytes) -> Option<Publish> {
    if body.first() != Some(&b'[') {
        return Some(Arc::new([Utf8Bytes::try_from(body.clone()).ok()?]));
    }
    let items: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    items.into_iter().map(|item| Utf8Bytes::try_from(body.slice_ref(item.get().as_bytes())).ok()).collect()
}

fn say(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_that_many_messages_and_anything_else_is_one() {
        let texts = |body: &'static str| -> Vec<String> {
            messages(&Bytes::from_static(body.as_bytes())).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(r#"[{"a": 1},"b",3]"#), [r#"{"a": 1}"#, r#""b""#, "3"]);
        assert_eq!(texts(r#"{"a":[1,2]}"#), [r#"{"a":[1,2]}"#]);
        assert!(messages(&Bytes::from_static(b"[1,")).is_none());
        assert!(messages(&Bytes::from_static(b"\xff")).is_none());
    }
}
