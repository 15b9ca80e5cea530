package import EventLoop
import Ledger
import Logging
import Postgres

/// A database of the shared PostgreSQL with the whole schema, which one test after the other uses: each finds it as the
/// migrations left it, without waiting for them, or for a thousand new files.
@LoopActor
package final class LeasedDatabase {
  package let url: String
  private let searchSchema: String
  private static var free: [LeasedDatabase] = []

  private init(url: String, searchSchema: String) { (self.url, self.searchSchema) = (url, searchSchema) }

  /// - Parameter searchSchema: of the search in PostgreSQL, where the test uses that.
  package static func take(searchSchema: String = "SELECT 1") async throws -> LeasedDatabase {
    if let index = free.firstIndex(where: { $0.searchSchema == searchSchema }) {
      let database = free.remove(at: index)
      try await database.with { try await $0.script(Self.restoration) }
      return database
    }
    let database = LeasedDatabase(url: try await TestDatabase.make(), searchSchema: searchSchema)
    try await database.with { postgres in
      _ = try await Migrations(postgres, searchSchema: searchSchema, logger: Logger(label: "test")).run()
      try await postgres.script(Self.preservation)
    }
    return database
  }

  /// For the next test. One that has changed the schema, or that fails on the way, keeps it.
  package func giveBack() { Self.free.append(self) }

  private func with(_ work: (PostgresClient) async throws -> Void) async throws {
    let postgres = try await TestDatabase.connect(url, connections: 1)
    defer { postgres.close() }
    try await work(postgres)
  }

  /// What the migrations have written, and how far sequences are.
  private static let preservation = """
    CREATE SCHEMA made;
    CREATE TABLE made."sequences of the schema" AS
      SELECT format('%I.%I', schemaname, sequencename) AS name, coalesce(last_value, start_value) AS value,
        last_value IS NOT NULL AS is_called
      FROM pg_sequences;
    DO $$
    DECLARE name text; has_rows boolean;
    BEGIN
      FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO has_rows;
        IF has_rows THEN EXECUTE format('CREATE TABLE made.%1$I AS TABLE public.%1$I', name); END IF;
      END LOOP;
    END $$
    """

  /// Rows that are few are deleted, which writes no new files.
  private static let restoration = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    DO $$
    DECLARE name text;
    BEGIN
      SET LOCAL session_replication_role = replica;
      FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        IF pg_table_size(format('public.%I', name)) > 1000000 THEN
          EXECUTE format('TRUNCATE public.%I CASCADE', name);
        ELSE
          EXECUTE format('DELETE FROM public.%I', name);
        END IF;
      END LOOP;
      FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'made' AND tablename NOT LIKE '% %' LOOP
        EXECUTE format('INSERT INTO public.%1$I OVERRIDING SYSTEM VALUE SELECT * FROM made.%1$I', name);
      END LOOP;
      PERFORM setval(s.name::regclass, s.value, s.is_called) FROM made."sequences of the schema" s;
    END $$
    """
}
