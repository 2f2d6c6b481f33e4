@echo off
rem Finds a Python that can run the WebUI and starts launch.py with it. Makes nothing itself.
rem Settings go into webui-user.bat (see webui-user.bat.template), which calls this file.
setlocal DisableDelayedExpansion
rem pushd gives a share such as \\server\webui a drive letter, without which it cannot be the current folder.
pushd "%~dp0"
if errorlevel 1 goto :no_folder

set "found="
rem Arguments may hold quotes with special characters in them: no other quotes around, and never echoed.
set arguments= %*
if defined VENV_DIR set "VENV_DIR=%VENV_DIR:"=%"
set "modules=os, sys, ensurepip, venv"
if "%VENV_DIR%"=="-" set "modules=os, sys"
rem Of another Python: with them none of those below would start.
if not "%VENV_DIR%"=="-" set "PYTHONHOME="
set "PYTHONSAFEPATH="
set "PYTHONINSPECT="

if not defined PYTHON goto :search
rem The path may or may not be quoted, and may hold spaces and parentheses.
set "python_cmd=%PYTHON:"=%"
if exist "%python_cmd%" set python_cmd="%python_cmd%"
call :try %python_cmd%
if defined found goto :start
echo PYTHON names "%PYTHON:"=%", which is not a working 64-bit Python 3.10 to 3.13. 1>&2
goto :missing

:search
rem py is Python's own launcher; python may be a stub that opens the Microsoft Store.
for %%c in ("py -3.12" "py -3.11" "py -3.13" "py -3.10" "python" "python3" "venv\Scripts\python.exe") do (
    if not defined found call :try %%~c
)
if not defined found goto :missing

:start
%found% launch.py %*
set "status=%ERRORLEVEL%"
popd
if not "%status%"=="0" if not defined CI pause
exit /b %status%

:try
rem call: what is found may be a batch file itself, as with pyenv.
call %* -c "import %modules%; words = os.environ.get('arguments', '') + os.environ.get('COMMANDLINE_ARGS', ''); sys.exit(not (sys.maxsize > 2**32 and ('--skip-python-version-check' in words or (3, 10) <= sys.version_info[:2] <= (3, 13))))" >nul 2>nul
if not errorlevel 1 set found=%*
exit /b 0

:no_folder
echo The folder "%~dp0" cannot be opened; copy the WebUI to a local drive, or map the share to a drive letter. 1>&2
if not defined CI pause
exit /b 1

:missing
popd
echo The WebUI needs a 64-bit Python 3.10 to 3.13: install 3.12 from https://www.python.org/downloads/windows/ and tick 'Add python.exe to PATH'. 1>&2
if not defined CI pause
exit /b 1
