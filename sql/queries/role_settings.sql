-- The settings of a role that this one may give to another, too.
-- Grain: a setting.
-- Parameters: role.
SELECT
    split_part(given.setting, '=', 1) AS name,
    substr(given.setting, strpos(given.setting, '=') + 1) AS setting
FROM pg_roles
CROSS JOIN LATERAL unnest(pg_roles.rolconfig) AS given (setting)
INNER JOIN pg_settings ON pg_settings.name = split_part(given.setting, '=', 1)
WHERE
    pg_roles.rolname = %(role)s
    AND (pg_settings.context = 'user' OR has_parameter_privilege(pg_settings.name, 'SET'))
ORDER BY pg_settings.name
