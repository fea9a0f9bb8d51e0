-- Tickets are found by the words of their subject.
ALTER TABLE tickets ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('english', subject)) STORED;
CREATE INDEX tickets_words ON tickets USING gin (words);
