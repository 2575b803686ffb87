-- Run once, by PostgreSQL's image, when its volume is empty. The database mlflow is made by the image itself.
CREATE DATABASE mlflow_auth;
CREATE DATABASE prefect;
