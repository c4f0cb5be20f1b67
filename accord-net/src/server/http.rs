//! Metrics, health and readiness over HTTP, for monitors and load balancers.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | the counters, in the text format of OpenMetrics |
//! | `/health` | 200 while the process works |
//! | `/ready` | 200 while the server serves writes, 503 and the reason otherwise |
//! | `/status` | the whole status as JSON |

use super::Running;
use crate::env::real::Real;
use crate::operator::status::StatusReport;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for the server's thread.
const WAITING_MAX: usize = 64;

/// What the HTTP side asks the server's thread, which alone may look at the server.
enum Question {
    Metrics(oneshot::Sender<String>),
    Status(oneshot::Sender<StatusReport>),
}

type Questions = mpsc::Sender<Question>;

/// Serves HTTP at `listener` for as long as it is polled.
///
/// # Errors
/// As the system says.
pub async fn serve(listener: TcpListener, running: &Running<Real>) -> io::Result<()> {
    let (questions, mut asked) = mpsc::channel(WAITING_MAX);
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .with_state(questions);
    let answering = async {
        while let Some(question) = asked.recv().await {
            // The client may have hung up.
            match question {
                Question::Metrics(answer) => drop(answer.send(all_metrics(running))),
                Question::Status(answer) => drop(answer.send(running.status())),
            }
        }
    };
    tokio::select! {
        biased;
        () = answering => Ok(()),
        result = axum::serve(listener, router).into_future() => result,
    }
}

/// The server's metrics and those of its process.
fn all_metrics(running: &Running<Real>) -> String {
    let mut text = running.metrics();
    super::process::add(&mut text);
    text
}

/// Opens the port for HTTP.
///
/// # Errors
/// As the system says.
pub async fn listen(at: SocketAddr) -> Result<TcpListener, super::StartError> {
    let error = |error| super::StartError::Listen { what: "HTTP", at, error };
    TcpListener::bind(at).await.map_err(error)
}

async fn ask<T>(
    questions: &Questions,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Result<T, StatusCode> {
    let (answer, answered) = oneshot::channel();
    questions.send(question(answer)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    answered.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

async fn metrics(State(questions): State<Questions>) -> Result<Response, StatusCode> {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = ask(&questions, Question::Metrics).await?;
    Ok(([(header::CONTENT_TYPE, TYPE)], text).into_response())
}

async fn ready(State(questions): State<Questions>) -> Result<Response, StatusCode> {
    let status = ask(&questions, Question::Status).await?;
    Ok(match (status.primary && !status.draining, status.reason) {
        (true, _) => "ready\n".into_response(),
        (false, reason) => {
            let reason = reason.unwrap_or_else(|| "stopping".to_owned());
            (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
        }
    })
}

async fn status(State(questions): State<Questions>) -> Result<Response, StatusCode> {
    let status = ask(&questions, Question::Status).await?;
    let text = serde_json::to_string_pretty(&status).expect("a status has a form in JSON");
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
