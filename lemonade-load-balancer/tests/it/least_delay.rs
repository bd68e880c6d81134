//! The shortest predicted delay, where simulations see nothing: other protocols, errors, clients that leave.

use crate::balancer::{GET, balancer_with, ok};
use lemonade_load_balancer::strategy::Name;
use lemonade_test::{Connection, Origin};
use std::time::Duration;

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n";

/// Switches where it is asked to and holds on to that; answers everything else, `/fail` with an error.
async fn either(mut connection: Connection) {
    while let Ok(request) = connection.request().await {
        if request.has("upgrade") {
            connection.send(SWITCHED).await;
            let _ = connection.some().await;
            return;
        }
        let answer = match request.target() {
            "/fail" => "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n".to_owned(),
            _ => ok("well"),
        };
        connection.send(answer).await;
    }
}

/// While tunnels stand, silence and all else that nothing was waited for must keep nobody out.
#[tokio::test]
async fn backends_with_tunnels_and_errors_get_their_part() {
    let origins = [Origin::start(either).await, Origin::start(either).await];
    let balancer = balancer_with(&[&origins[0], &origins[1]], |config| {
        config.strategy = Name::LeastDelay;
    });
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.status(), 200);
    // Tunnels are in flight; as many at one as at the other.
    let tunnels_at = |origin: &Origin| {
        let requests = origin.requests();
        requests
            .iter()
            .filter(|request| request.has("upgrade"))
            .count()
    };
    let mut tunnels = Vec::new();
    while tunnels.is_empty() || tunnels_at(&origins[0]) != tunnels_at(&origins[1]) {
        let mut tunnel = balancer.client().await;
        tunnel.send(UPGRADE).await;
        assert_eq!(tunnel.head().await.status(), 101);
        tunnels.push(tunnel);
    }
    for _ in 0..2 {
        assert_eq!(client.get("/fail").await.status(), 501);
    }
    let before = origins.each_ref().map(|origin| origin.requests().len());
    // Long enough for a silence to count, if there were one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..60 {
        client.send(GET).await;
        assert_eq!(client.answer().await.status(), 200);
    }
    for (origin, before) in origins.iter().zip(before) {
        let count = origin.requests().len() - before;
        assert!(count >= 10, "{count} of 60");
    }
}
