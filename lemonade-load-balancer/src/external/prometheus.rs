//! One instant query of Prometheus' HTTP API, and the one value of its answer.

use crate::config::PrometheusConfig;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write;
use tokio::net::TcpStream;

/// An answer with one value is far smaller.
const MAX_BODY: usize = 64 << 10;

/// Asks on a fresh connection. The error is a sentence. The caller bounds the time.
pub(super) async fn ask(source: &PrometheusConfig) -> Result<f64, String> {
    let body = fetch(source).await.map_err(|error| error.to_string())?;
    let (status, body) = body;
    let json: Value = serde_json::from_slice(&body)
        .map_err(|_| format!("its answer, with status {status}, is no JSON"))?;
    value(&json)
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn fetch(source: &PrometheusConfig) -> Result<(u16, Bytes), Error> {
    let address = &source.url.address;
    let stream = TcpStream::connect((address.host(), address.port())).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .uri(target(source))
        .header(HOST, address.to_string())
        .header(USER_AGENT, "lemonade")
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY);
        Ok((status, body.collect().await?.to_bytes()))
    };
    let connection = async {
        // Its end shows in the answer, or in that there is none.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answered = answered => answered,
        () = connection => Err("the connection was closed".into()),
    }
}

fn target(source: &PrometheusConfig) -> String {
    let mut target = format!("{}/api/v1/query?query=", source.url.prefix);
    for byte in source.query.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => target.push(char::from(byte)),
            // Writing to a String does not fail.
            false => drop(write!(target, "%{byte:02X}")),
        }
    }
    target
}

/// The one value of an answer: a scalar, or a vector of one.
fn value(answer: &Value) -> Result<f64, String> {
    if answer["status"] != "success" {
        let error = answer["error"].as_str().unwrap_or("it says not why");
        return Err(format!("it refuses the query: {error}"));
    }
    let result = &answer["data"]["result"];
    let pair = match answer["data"]["resultType"].as_str() {
        Some("scalar") => result,
        Some("vector") => match result.as_array().map(Vec::as_slice) {
            Some([one]) => &one["value"],
            Some([]) => return Err("its answer has no value".to_owned()),
            _ => return Err("its answer has more than one value".to_owned()),
        },
        _ => return Err("its answer is neither a scalar nor a vector".to_owned()),
    };
    let number = pair[1].as_str().and_then(|text| text.parse().ok());
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| "its value is no number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PrometheusUrl;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn query_is_encoded() {
        let source = PrometheusConfig {
            name: "x".to_owned(),
            url: PrometheusUrl::parse("http://h:1/prom/").unwrap(),
            query: "max(a{b=\"c d\"}) + 1".to_owned(),
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            stale: Duration::ZERO,
        };
        let expected = "/prom/api/v1/query?query=max%28a%7Bb%3D%22c%20d%22%7D%29%20%2B%201";
        assert_eq!(target(&source), expected);
    }

    #[test]
    fn answers_have_one_value_or_say_why_not() {
        let answer = |kind: &str, result: Value| json!({"status": "success", "data": {"resultType": kind, "result": result}});
        let one = json!({"metric": {}, "value": [1.5, "42.5"]});
        assert_eq!(value(&answer("vector", json!([one]))), Ok(42.5));
        assert_eq!(value(&answer("scalar", json!([1.5, "-3"]))), Ok(-3.0));
        for (bad, says) in [
            (answer("vector", json!([])), "no value"),
            (answer("vector", json!([one, one])), "more than one"),
            (answer("matrix", json!([])), "neither"),
            (answer("scalar", json!([1, "NaN"])), "no number"),
            (answer("scalar", json!("x")), "no number"),
            (
                json!({"status": "error", "error": "parse error"}),
                "parse error",
            ),
            (json!(7), "refuses"),
        ] {
            let error = value(&bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
