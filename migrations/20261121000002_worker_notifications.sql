-- Load balancers LISTEN on this channel and read the table again when a statement has changed it.
CREATE OR REPLACE FUNCTION lemonade_notify_workers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('lemonade_workers', '');
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS lemonade_workers ON workers;
CREATE TRIGGER lemonade_workers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON workers
    FOR EACH STATEMENT EXECUTE FUNCTION lemonade_notify_workers();
