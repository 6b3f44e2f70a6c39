-- A function that is made from its file may be called by nobody until a migration grants it, as it is with tables:
-- PostgreSQL lets everybody call a new one.

ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM public;
