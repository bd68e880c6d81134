//! Metrics and traces that are pushed, as their servers see them; and that nobody notices when those are away.

use crate::balancer::{Balancer, Nobody, balancer_at, balancer_of_file, balancer_with};
use crate::reload::{folder, write};
use lemonade_load_balancer::config::{
    Config, Flavour, OtlpConfig, OtlpUrl, StatsdAddress, StatsdConfig, TracingConfig,
};
use lemonade_test::{Connection, Message as Received, Origin, PATIENCE, until};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, NumberDataPoint, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{UdpSocket, UnixDatagram};

const OFTEN: Duration = Duration::from_millis(20);

fn otlp(server: SocketAddr) -> OtlpConfig {
    let mut otlp = OtlpConfig::at(OtlpUrl::parse(&format!("http://{server}")).unwrap());
    otlp.timeout = Duration::from_millis(200);
    otlp
}

/// A balancer in front of `origin`, which is called `w`, that pushes metrics there.
fn pushing(origin: &Origin, server: SocketAddr) -> Balancer {
    balancer_with(&[origin], |config| {
        config.backends[0].name = "w".to_owned();
        config.metrics.interval = OFTEN;
        config.metrics.otlp = Some(otlp(server));
    })
}

/// A server that takes everything.
async fn collector() -> Origin {
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
    Origin::answering(answer).await
}

fn text(value: &KeyValue) -> String {
    match value.value.clone().unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

/// One reading as it was pushed, by series as `/metrics` writes them.
#[derive(Default)]
struct Reading {
    resource: HashMap<String, String>,
    sums: HashMap<String, NumberDataPoint>,
    levels: HashMap<String, f64>,
    histograms: HashMap<String, HistogramDataPoint>,
}

fn series(name: &str, attributes: &[KeyValue]) -> String {
    if attributes.is_empty() {
        return name.to_owned();
    }
    let labels = attributes.iter();
    let labels: Vec<String> = labels
        .map(|label| format!("{}=\"{}\"", label.key, text(label)))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

impl Reading {
    fn of(pushed: &Received) -> Self {
        assert_eq!(pushed.start, "POST /v1/metrics HTTP/1.1");
        let request = ExportMetricsServiceRequest::decode(&*pushed.body).unwrap();
        let [metrics] = &request.resource_metrics[..] else {
            panic!("{request:?}");
        };
        let mut reading = Reading::default();
        let resource = metrics.resource.as_ref().unwrap().attributes.iter();
        let resource = resource.map(|pair| (pair.key.clone(), text(pair)));
        reading.resource = resource.collect();
        for metric in &metrics.scope_metrics[0].metrics {
            reading.add(&metric.name, metric.data.as_ref().unwrap());
        }
        reading
    }

    fn add(&mut self, name: &str, data: &Data) {
        match data {
            Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
                for point in &sum.data_points {
                    let series = series(name, &point.attributes);
                    self.sums.insert(series, point.clone());
                }
            }
            Data::Gauge(gauge) => {
                for point in &gauge.data_points {
                    let Some(number_data_point::Value::AsDouble(level)) = point.value else {
                        panic!("{point:?}");
                    };
                    self.levels.insert(series(name, &point.attributes), level);
                }
            }
            Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    let series = series(name, &point.attributes);
                    self.histograms.insert(series, point.clone());
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn sum(&self, series: &str) -> i64 {
        self.sums.get(series).map_or(0, int)
    }
}

fn int(point: &NumberDataPoint) -> i64 {
    match point.value {
        Some(number_data_point::Value::AsInt(count)) => count,
        // Processor time.
        Some(number_data_point::Value::AsDouble(figure)) => figure as i64,
        None => panic!("{point:?}"),
    }
}

fn readings(server: &Origin) -> Vec<Reading> {
    server.requests().iter().map(Reading::of).collect()
}

/// Counters of `/metrics`, but for those of the pushing itself and of the process, which never rest.
fn counters(text: &str) -> HashMap<String, i64> {
    let mut counters = HashMap::new();
    let mut counts = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let rests = kind.starts_with("lemonade_") && !kind.contains("telemetry");
            counts = rests && kind.ends_with(" counter");
        } else if counts
            && !line.starts_with('#')
            && let Some((series, count)) = line.rsplit_once(' ')
        {
            counters.insert(series.to_owned(), count.parse().unwrap());
        }
    }
    counters
}

const ANSWERED: &str = "lemonade_http_requests_total{class=\"2xx\"}";

#[tokio::test]
async fn metrics_that_are_pushed_are_those_of_the_scrape() {
    let (origin, server) = (Origin::named("a").await, collector().await);
    let balancer = pushing(&origin, server.address());
    server.request(1).await;
    for _ in 0..5 {
        balancer.get("/").await;
    }
    balancer.ask("BAD\r\n\r\n").await;
    balancer.metric_reaches(ANSWERED, 5.0).await;
    let refused = "lemonade_http_requests_refused_total{class=\"4xx\"}";
    balancer.metric_reaches(refused, 1.0).await;

    let scraped = balancer.admin("GET /metrics", "").await.text();
    let so_far = server.requests().len();
    // The first after that may have been read before.
    server.request(so_far + 2).await;
    let readings = readings(&server);
    let last = readings.last().unwrap();
    let expected = counters(&scraped);
    assert!(expected.len() > 20, "{scraped}");
    for (series, count) in expected {
        assert_eq!(last.sum(&series), count, "{series}");
    }
    assert_eq!(last.levels["lemonade_backend_up{backend=\"w\"}"], 1.0);
    assert_eq!(last.levels["lemonade_config_last_reload_success"], 1.0);
    assert_eq!(last.resource["service.name"], "lemonade");
    assert!(last.resource.contains_key("service.instance.id"));

    for name in [
        "lemonade_http_request_duration_seconds",
        "lemonade_backend_request_duration_seconds{backend=\"w\"}",
    ] {
        let times = &last.histograms[name];
        assert_eq!((times.count, times.bucket_counts.iter().sum()), (5, 5));
        assert_eq!(times.bucket_counts.len(), times.explicit_bounds.len() + 1);
        assert!(times.sum.unwrap() > 0.0);
    }
    let times = &last.histograms["lemonade_http_request_duration_seconds"];
    let mut below = 0;
    for (bound, count) in times.explicit_bounds.iter().zip(&times.bucket_counts) {
        below += count;
        let line =
            format!("lemonade_http_request_duration_seconds_bucket{{le=\"{bound}\"}} {below}");
        assert!(scraped.contains(&line), "{line} in {scraped}");
    }
}

#[tokio::test]
async fn sums_only_rise_and_say_since_when() {
    let (origin, server) = (Origin::named("a").await, collector().await);
    let balancer = pushing(&origin, server.address());
    for count in 1..=3 {
        balancer.get("/").await;
        let arrived = || {
            readings(&server)
                .last()
                .map_or(0, |last| last.sum(ANSWERED))
                == count
        };
        until(format!("{count} are told of"), arrived).await;
    }
    let readings = readings(&server);
    let mut before = readings[0].sums.clone();
    for reading in &readings[1..] {
        for (series, point) in &reading.sums {
            assert!(point.start_time_unix_nano < point.time_unix_nano);
            let Some(earlier) = before.get(series) else {
                continue;
            };
            assert!(int(point) >= int(earlier), "{series}");
            assert_eq!(point.start_time_unix_nano, earlier.start_time_unix_nano);
            assert!(point.time_unix_nano > earlier.time_unix_nano);
        }
        before = reading.sums.clone();
    }
}

async fn pushed(balancer: &Balancer, signal: &str, result: &str) -> f64 {
    let labels = format!("{{signal=\"{signal}\",result=\"{result}\"}}");
    let series = format!("lemonade_telemetry_exports_total{labels}");
    balancer.metric(&series).await
}

async fn dropped(balancer: &Balancer, signal: &str) -> f64 {
    let series = format!("lemonade_telemetry_dropped_total{{signal=\"{signal}\"}}");
    balancer.metric(&series).await
}

/// Waits until so many pushes have had this result.
async fn until_pushed(balancer: &Balancer, signal: &str, result: &str, count: f64) {
    let begun = Instant::now();
    while pushed(balancer, signal, result).await < count {
        assert!(begun.elapsed() < PATIENCE, "{signal} was never {result}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn server_that_is_away_is_counted_and_missed_by_nobody() {
    let (origin, server) = (Origin::named("a").await, collector().await);
    let address = server.address();
    server.kill().await;
    let balancer = pushing(&origin, address);
    until_pushed(&balancer, "metrics", "away", 1.0).await;
    assert_eq!(balancer.get("/").await.text(), "a");
    assert!(dropped(&balancer, "metrics").await >= 1.0);

    let script = async |mut connection: Connection| {
        while connection.request().await.is_ok() {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            connection.send(answer).await;
        }
    };
    let server = Origin::start_at(address, script).await;
    until("it is told of the request", || {
        readings(&server)
            .iter()
            .any(|reading| reading.sum(ANSWERED) == 1)
    })
    .await;
}

#[tokio::test]
async fn server_that_hangs_or_talks_nonsense_is_missed_by_nobody() {
    let origin = Origin::named("a").await;
    let mute = Origin::start(async |mut connection: Connection| connection.gone().await).await;
    let mad = Origin::answering("nonsense\r\n\r\n").await;
    let wrong = Origin::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    for (server, result) in [(&mute, "away"), (&mad, "away"), (&wrong, "refused")] {
        let balancer = pushing(&origin, server.address());
        let before = dropped(&balancer, "metrics").await;
        let count = pushed(&balancer, "metrics", result).await + 1.0;
        assert_eq!(balancer.get("/").await.text(), "a");
        until_pushed(&balancer, "metrics", result, count).await;
        assert_eq!(balancer.get("/").await.text(), "a");
        assert!(dropped(&balancer, "metrics").await > before);
    }
}

#[tokio::test]
async fn server_that_is_busy_is_left_alone_as_long_as_it_asks() {
    let origin = Origin::named("a").await;
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let server = Origin::answering(busy).await;
    let balancer = pushing(&origin, server.address());
    server.request(1).await;
    let asked = Instant::now();
    assert_eq!(balancer.get("/").await.text(), "a");
    server.request(2).await;
    assert!(asked.elapsed() > Duration::from_millis(900));
    until_pushed(&balancer, "metrics", "away", 2.0).await;
}

#[tokio::test]
async fn reload_moves_the_server() {
    let (origin, a, b) = (
        Origin::named("a").await,
        collector().await,
        collector().await,
    );
    let text = |server: &Origin| {
        format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nbackends: \"{}\"\n\
             runtime: {{ shards: 1, config_watch_interval: 20ms }}\n\
             metrics: {{ interval: 1h, otlp: \"http://{}\" }}\n",
            origin.address(),
            server.address()
        )
    };
    let (_folder, path) = folder(&text(&a));
    let balancer = balancer_of_file(&path);
    a.request(1).await;
    balancer.get("/").await;
    balancer.metric_reaches(ANSWERED, 1.0).await;
    write(&path, &text(&b));
    b.request(1).await;
    let first = &readings(&b)[0];
    assert_eq!(first.sum(ANSWERED), 1);
    // What only rises goes on rising from the same start.
    let starts =
        [&readings(&a)[0], first].map(|reading| reading.sums[ANSWERED].start_time_unix_nano);
    assert_eq!(starts[0], starts[1]);
    assert_eq!(a.requests().len(), 1);
}

#[tokio::test]
async fn what_is_left_is_pushed_at_the_end() {
    let (origin, server) = (Origin::named("a").await, collector().await);
    let statsd = Listener::udp().await;
    let balancer = balancer_with(&[&origin], |config| {
        config.metrics.otlp = Some(otlp(server.address()));
        config.metrics.statsd = Some(statsd.config());
    });
    server.request(1).await;
    balancer.get("/").await;
    balancer.metric_reaches(ANSWERED, 1.0).await;
    assert!(balancer.app.shut_down(std::future::pending()).await);
    assert_eq!(readings(&server)[1].sum(ANSWERED), 1);
    until("the lines have come", || {
        statsd.counted("lemonade.http_requests", "#class:2xx") == 1
    })
    .await;
}

#[tokio::test]
async fn server_that_hangs_holds_up_the_end_for_two_seconds_at_most() {
    let origin = Origin::named("a").await;
    let mute = Origin::start(async |mut connection: Connection| connection.gone().await).await;
    let balancer = balancer_with(&[&origin], |config| {
        let mut patient = otlp(mute.address());
        patient.timeout = Duration::from_secs(60);
        config.metrics.otlp = Some(patient);
    });
    until("it is connected to", || mute.connections() == 1).await;
    let begun = Instant::now();
    assert!(balancer.app.shut_down(std::future::pending()).await);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

/// A StatsD server, and what it has heard.
struct Listener {
    address: String,
    datagrams: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    async fn udp() -> Self {
        Self::udp_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn udp_at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let datagrams = Arc::<Mutex<Vec<String>>>::default();
        let heard = datagrams.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut buffer).await {
                hear(&heard, &buffer[..length]);
            }
        });
        Listener { address, datagrams }
    }

    fn unix(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let datagrams = Arc::<Mutex<Vec<String>>>::default();
        let heard = datagrams.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut buffer).await {
                hear(&heard, &buffer[..length]);
            }
        });
        let address = format!("unix:{}", path.display());
        Listener { address, datagrams }
    }

    fn config(&self) -> StatsdConfig {
        StatsdConfig::at(StatsdAddress::parse(&self.address).unwrap())
    }

    fn datagrams(&self) -> Vec<String> {
        self.datagrams.lock().unwrap().clone()
    }

    /// Values of every line with this name, kind and end, such as its tags.
    fn values(&self, name: &str, kind: char, end: &str) -> Vec<f64> {
        let datagrams = self.datagrams();
        let lines = datagrams.iter().flat_map(|datagram| datagram.lines());
        let values = lines.filter_map(|line| {
            let (head, tail) = line.split_once(&format!("|{kind}"))?;
            let (found, value) = head.rsplit_once(':').unwrap();
            let tail = tail.strip_prefix('|').unwrap_or(tail);
            (found == name && tail == end).then(|| value.parse().unwrap())
        });
        values.collect()
    }

    /// What a counter's lines add up to.
    fn counted(&self, name: &str, end: &str) -> u64 {
        self.values(name, 'c', end).iter().sum::<f64>() as u64
    }
}

fn hear(heard: &Mutex<Vec<String>>, datagram: &[u8]) {
    let datagram = String::from_utf8(datagram.to_vec()).unwrap();
    heard.lock().unwrap().push(datagram);
}

fn lines_to(config: &mut Config, statsd: StatsdConfig) {
    config.backends[0].name = "w".to_owned();
    config.metrics.interval = OFTEN;
    config.metrics.statsd = Some(statsd);
}

#[tokio::test]
async fn statsd_counts_add_up_to_the_counters() {
    let origin = Origin::named("a").await;
    let statsd = Listener::udp().await;
    let balancer = balancer_with(&[&origin], |config| {
        let mut wanted = statsd.config();
        wanted.tags = vec![("env".to_owned(), "test".to_owned())];
        lines_to(config, wanted);
    });
    for count in 1..=5 {
        balancer.get("/").await;
        until(format!("{count} are told of"), || {
            statsd.counted("lemonade.http_requests", "#class:2xx,env:test") == count
        })
        .await;
    }
    balancer.metric_reaches(ANSWERED, 5.0).await;
    for (name, tags) in [
        ("lemonade.backend_requests", "#backend:w,class:2xx,env:test"),
        (
            "lemonade.backend_request_duration_seconds.count",
            "#backend:w,env:test",
        ),
        ("lemonade.http_request_duration_seconds.count", "#env:test"),
    ] {
        until(format!("{name} is 5"), || statsd.counted(name, tags) == 5).await;
    }
    let up = statsd.values("lemonade.backend_up", 'g', "#backend:w,env:test");
    assert!(up.len() > 1 && up.iter().all(|up| *up == 1.0));
    for suffix in ["p50", "p95", "p99", "avg"] {
        let name = format!("lemonade.http_request_duration_seconds.{suffix}");
        let times = statsd.values(&name, 'g', "#env:test");
        let plausible = |time: &f64| *time > 0.0 && *time <= 10.0;
        assert!(!times.is_empty() && times.iter().all(plausible), "{name}");
    }
}

#[tokio::test]
async fn datagrams_fit_into_a_frame() {
    let origin = Origin::named("a").await;
    let statsd = Listener::udp().await;
    let balancer = balancer_with(&[&origin], |config| {
        let first = config.backends[0].clone();
        for index in 0..50 {
            let mut more = first.clone();
            let port = 1 + index;
            let address = format!("127.0.0.1:{port}").parse().unwrap();
            more.id = lemonade_load_balancer::backend::BackendId::new(address);
            more.name = format!("backend-{index}-of-a-region-far-away");
            config.backends.push(more);
        }
        lines_to(config, statsd.config());
    });
    balancer.get("/").await;
    let told = |name: &str| !statsd.values("lemonade.backend_up", 'g', name).is_empty();
    until("the last backend is told of", || {
        told("#backend:backend-49-of-a-region-far-away")
    })
    .await;
    let lengths: Vec<usize> = statsd.datagrams().iter().map(String::len).collect();
    assert!(lengths.iter().all(|length| *length <= 1432), "{lengths:?}");
    assert!(lengths.iter().any(|length| *length > 1200), "{lengths:?}");
}

#[tokio::test]
async fn plain_lines_come_by_a_unix_socket() {
    let origin = Origin::named("a").await;
    let folder = tempfile::tempdir().unwrap();
    let statsd = Listener::unix(&folder.path().join("statsd"));
    let balancer = balancer_with(&[&origin], |config| {
        let mut wanted = statsd.config();
        wanted.flavour = Flavour::Plain;
        wanted.prefix = "lb.".to_owned();
        lines_to(config, wanted);
    });
    balancer.get("/").await;
    until("it is told of", || {
        statsd.counted("lb.backend_requests.w.2xx", "") == 1
    })
    .await;
    assert!(!statsd.values("lb.connections", 'g', "").is_empty());
}

#[tokio::test]
async fn statsd_server_that_is_away_costs_a_count() {
    let origin = Origin::named("a").await;
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let balancer = balancer_with(&[&origin], |config| {
        let address = StatsdAddress::parse(&address.to_string()).unwrap();
        lines_to(config, StatsdConfig::at(address));
    });
    until_pushed(&balancer, "statsd", "away", 3.0).await;
    assert_eq!(balancer.get("/").await.text(), "a");
    assert!(dropped(&balancer, "statsd").await >= 3.0);
    let delivered = pushed(&balancer, "statsd", "ok").await;
    let statsd = Listener::udp_at(address).await;
    until_pushed(&balancer, "statsd", "ok", delivered + 1.0).await;
    until("lines have come", || !statsd.datagrams().is_empty()).await;

    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("unix:{}", folder.path().join("none").display());
    let balancer = balancer_with(&[&origin], |config| {
        let address = StatsdAddress::parse(&nowhere).unwrap();
        lines_to(config, StatsdConfig::at(address));
    });
    let away = pushed(&balancer, "statsd", "away").await;
    until_pushed(&balancer, "statsd", "away", away + 2.0).await;
    assert_eq!(balancer.get("/").await.text(), "a");
}

/// Every request that has no caller who decides is traced.
fn traced(config: &mut Config, server: SocketAddr) {
    let otlp = otlp(server);
    config.tracing = Some(TracingConfig { otlp, sample: 1.0 });
}

/// All spans that have come, once one has this name, and this status.
async fn spans(server: &Origin, status: u16) -> Vec<Span> {
    let come = || -> Vec<Span> {
        let pushed = server.requests();
        let requests = pushed.iter().map(|pushed| {
            assert_eq!(pushed.start, "POST /v1/traces HTTP/1.1");
            ExportTraceServiceRequest::decode(&*pushed.body).unwrap()
        });
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    };
    until(format!("a request with status {status} is told of"), || {
        come().iter().any(|span| {
            span.kind == SERVER && said(span, "http.response.status_code") == status.to_string()
        })
    })
    .await;
    come()
}

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

/// An attribute; empty if the span has none of this name.
fn said(span: &Span, name: &str) -> String {
    let pair = span.attributes.iter().find(|pair| pair.key == name);
    match pair.map(|pair| pair.value.clone().unwrap().value.unwrap()) {
        None => String::new(),
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
    }
}

fn status(span: &Span) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn request_is_told_of_in_spans() {
    let (origin, server) = (Origin::named("a").await, collector().await);
    let balancer = balancer_with(&[&origin], |config| {
        config.backends[0].name = "w".to_owned();
        traced(config, server.address());
    });
    let request = format!(
        "GET /work?password=hunter2 HTTP/1.1\r\nHost: shop:80\r\nUser-Agent: it\r\nAuthorization: Basic aHVudGVyMg==\r\n\
         Cookie: hunter2\r\ntraceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: a=b\r\n\r\n"
    );
    assert_eq!(balancer.ask(request).await.status(), 200);
    let spans = spans(&server, 200).await;
    for pushed in server.requests() {
        let body = String::from_utf8_lossy(&pushed.body).into_owned();
        assert!(!body.contains("hunter2") && !body.contains("aHVudGVyMg"));
    }
    let named = |name: &str, kind: i32| {
        let mut found = spans.iter();
        let found = found.find(|span| span.name == name && span.kind == kind);
        found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
    };
    let (whole, pick) = (named("GET", SERVER), named("pick", INTERNAL));
    let (attempt, connect) = (named("GET", CLIENT), named("connect", CLIENT));
    assert_eq!(hex(&whole.parent_span_id), CALLER);
    assert_eq!(
        (&pick.parent_span_id, &attempt.parent_span_id),
        (&whole.span_id, &whole.span_id)
    );
    assert_eq!(connect.parent_span_id, attempt.span_id);
    for span in &spans {
        assert_eq!(
            (hex(&span.trace_id).as_str(), span.trace_state.as_str()),
            (TRACE, "a=b")
        );
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(whole.start_time_unix_nano <= span.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= whole.end_time_unix_nano);
        assert_eq!(status(span), 0);
    }
    for (name, value) in [
        ("url.path", "/work"),
        ("server.address", "shop"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "it"),
        ("network.protocol.version", "1.1"),
        ("lemonade.strategy", "round_robin"),
    ] {
        assert_eq!(said(whole, name), value, "{name}");
    }
    assert_eq!(said(attempt, "lemonade.backend"), "w");
    assert_eq!(
        said(attempt, "server.port"),
        origin.address().port().to_string()
    );
    let told = format!("00-{TRACE}-{}-01", hex(&attempt.span_id));
    assert_eq!(
        origin.requests()[0].field("traceparent"),
        Some(told.as_str())
    );
}

/// What was pushed so far.
fn all_spans(server: &Origin) -> Vec<Span> {
    let pushed = server.requests();
    let requests = pushed
        .iter()
        .map(|pushed| ExportTraceServiceRequest::decode(&*pushed.body).unwrap());
    let resources = requests.flat_map(|request| request.resource_spans);
    resources
        .flat_map(|resource| resource.scope_spans[0].spans.clone())
        .collect()
}

#[tokio::test]
async fn request_that_the_end_of_a_drain_cuts_off_is_told_of() {
    let server = collector().await;
    let origin = Origin::start(async |mut connection: Connection| {
        while connection.request().await.is_ok() {
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| traced(config, server.address()));
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    origin.request(1).await;
    assert!(!balancer.app.shut_down(std::future::ready(())).await);
    let spans = all_spans(&server);
    let whole = spans.iter().find(|span| span.kind == SERVER);
    let whole = whole.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(said(whole, "lemonade.flag"), "cut_off");
    assert!(spans.iter().any(|span| span.kind == CLIENT));
}

#[tokio::test]
async fn failed_attempts_are_told_of_too() {
    let (nobody, server) = (Nobody::new(), collector().await);
    let origin = Origin::named("a").await;
    let balancer = balancer_at(&[nobody.address(), origin.address()], |config| {
        traced(config, server.address());
    });
    // One of the first two meets nobody first.
    for _ in 0..2 {
        assert_eq!(balancer.get("/").await.status(), 200);
    }
    let mut attempts = Vec::new();
    until("the failed one is told of", || {
        attempts = all_spans(&server)
            .into_iter()
            .filter(|span| span.name == "GET" && span.kind == CLIENT)
            .collect();
        attempts.len() == 3
    })
    .await;
    let failed: Vec<&Span> = attempts
        .iter()
        .filter(|span| status(span) == ERROR)
        .collect();
    let [failed] = failed[..] else {
        panic!("{attempts:#?}");
    };
    assert_eq!(
        said(failed, "server.port"),
        nobody.address().port().to_string()
    );
    assert!(!said(failed, "error.type").is_empty());
    let connect = all_spans(&server)
        .into_iter()
        .find(|span| span.name == "connect" && span.parent_span_id == failed.span_id);
    let connect = connect.expect("what failed is told of");
    assert_eq!(status(&connect), ERROR);
    assert_eq!(said(&connect, "error.type"), "connect_failed");
    let again = attempts
        .iter()
        .find(|span| said(span, "http.request.resend_count") == "1");
    let again = again.unwrap_or_else(|| panic!("{attempts:#?}"));
    assert_eq!(again.trace_id, failed.trace_id);
    assert_eq!(
        said(again, "server.port"),
        origin.address().port().to_string()
    );
}

#[tokio::test]
async fn caller_that_does_not_want_a_trace_gets_none() {
    let (origin, server) = (Origin::named("a").await, collector().await);
    let balancer = balancer_with(&[&origin], |config| traced(config, server.address()));
    let unwanted =
        format!("GET / HTTP/1.1\r\nHost: t\r\ntraceparent: 00-{TRACE}-{CALLER}-00\r\n\r\n");
    balancer.ask(unwanted).await;
    balancer.get("/").await;
    let spans = spans(&server, 200).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE));
}

#[tokio::test]
async fn traces_to_nowhere_are_missed_by_nobody() {
    let origin = Origin::named("a").await;
    let mute = Origin::start(async |mut connection: Connection| connection.gone().await).await;
    let balancer = balancer_with(&[&origin], |config| traced(config, mute.address()));
    let mut client = balancer.client().await;
    // More than may wait.
    for _ in 0..6000 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let begun = Instant::now();
    while dropped(&balancer, "traces").await == 0.0 {
        assert!(begun.elapsed() < PATIENCE, "nothing was dropped");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
