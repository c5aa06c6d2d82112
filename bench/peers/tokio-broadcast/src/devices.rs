//! The devices: a task each, from the handshake to the last frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use crate::topics::{Publish, Topics};

/// Devices send pings and little else; the library's default of 128 KiB would be paid for each connection.
const READ_BUFFER_BYTES: usize = 512;
/// A handshake that takes longer is given up.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Without a free descriptor, accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn serve(listener: TcpListener, topics: Arc<Topics>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                tokio::spawn(device(socket, Arc::clone(&topics)));
            }
            Err(why) => {
                eprintln!("tokio-broadcast: accept: {why}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn device(socket: TcpStream, topics: Arc<Topics>) {
    // Boxed: what a handshake needs is given back, instead of being part of the task for as long as it lives.
    let opened = Box::pin(tokio::time::timeout(HANDSHAKE_WITHIN, open(socket, &topics))).await;
    drop(topics);
    if let Ok(Ok((mut stream, mut messages))) = opened {
        // How a connection ends concerns nobody else.
        let _ = forward(&mut stream, &mut messages).await;
    }
}

type Opened = (Box<WebSocketStream<TcpStream>>, Receiver<Publish>);

/// Joins before the answer is sent: who has seen it misses nothing.
async fn open(socket: TcpStream, topics: &Topics) -> Result<Opened, Error> {
    let mut joined = None;
    #[allow(clippy::result_large_err)] // the library's signature
    let join = |request: &Request, response: Response| match request.uri().path().strip_prefix("/topics/") {
        Some(topic) if !topic.is_empty() => {
            joined = Some(topics.join(topic));
            Ok(response)
        }
        _ => {
            let mut refusal = ErrorResponse::new(Some("devices connect to /topics/TOPIC".to_owned()));
            *refusal.status_mut() = StatusCode::NOT_FOUND;
            Err(refusal)
        }
    };
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let stream = accept_hdr_async_with_config(socket, join, Some(config)).await?;
    joined.map(|messages| (Box::new(stream), messages)).ok_or(Error::ConnectionClosed)
}

async fn forward(
    stream: &mut WebSocketStream<TcpStream>,
    publishes: &mut Receiver<Publish>,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            publish = publishes.recv() => match publish {
                Ok(publish) => send(stream, publish, publishes).await?,
                Err(RecvError::Lagged(_)) => return too_slow(stream).await,
                Err(RecvError::Closed) => return stream.close(None).await,
            },
            // The library answers pings and Close frames itself.
            input = stream.next() => match input {
                Some(input) => drop(input?),
                None => return Ok(()),
            },
        }
    }
}

/// Sends a publish, and with the same write all that came behind it.
async fn send(
    stream: &mut WebSocketStream<TcpStream>,
    first: Publish,
    publishes: &mut Receiver<Publish>,
) -> Result<(), Error> {
    let mut publish = first;
    loop {
        for message in publish.iter() {
            stream.feed(Message::Text(message.clone())).await?;
        }
        publish = match publishes.try_recv() {
            Ok(next) => next,
            Err(TryRecvError::Empty) => return stream.flush().await,
            Err(TryRecvError::Lagged(_)) => return too_slow(stream).await,
            Err(TryRecvError::Closed) => return stream.close(None).await,
        };
    }
}

async fn too_slow(stream: &mut WebSocketStream<TcpStream>) -> Result<(), Error> {
    let close = CloseFrame { code: CloseCode::Again, reason: Utf8Bytes::from_static("too slow") };
    stream.close(Some(close)).await?;
    Err(Error::ConnectionClosed)
}
