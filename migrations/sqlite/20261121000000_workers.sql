-- The workers a load balancer may use, one row each.
CREATE TABLE IF NOT EXISTS workers(
    worker_address VARCHAR(255) NOT NULL PRIMARY KEY
);
